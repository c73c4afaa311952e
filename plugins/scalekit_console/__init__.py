"""Pages that show a running service to operators, and let them act."""
