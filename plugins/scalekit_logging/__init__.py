"""Log as JSON lines: the application's own, one for each request, and those of every library, all with the same ids."""
