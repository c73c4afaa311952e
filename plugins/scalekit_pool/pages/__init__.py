"""The page of the databases for the console."""
