"""Serve an application: sockets, connections with deadlines, and an end that drops nothing."""

from scalekit.server.serve import serve

__all__ = ["serve"]
