"""Reads on replicas that have what the client has written: by positions of the write-ahead log in signed tokens."""
