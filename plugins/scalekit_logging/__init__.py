"""Structured logging: JSON lines of the application, its libraries and each request, with request and trace ids."""
