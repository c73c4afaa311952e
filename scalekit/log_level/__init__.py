"""Levels of the log that operators override in a running service for a limited time."""
