"""Memory of a process: usage (RSS, PSS), heap growth, garbage collection."""
