"""The host's own pages of the console."""
