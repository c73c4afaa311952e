"""The HTTP/1.1 server: listeners, connections with timeouts and limits, graceful shutdown."""
