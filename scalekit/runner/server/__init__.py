"""Serve an application: sockets, connections with deadlines, and an end that drops nothing."""
