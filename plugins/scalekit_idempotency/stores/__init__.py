"""Stores of claimed keys and of the responses to their requests."""
