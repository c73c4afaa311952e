"""Static files of folders: conditional requests, ranges, and files that are compressed in advance."""
