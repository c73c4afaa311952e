"""Helpers for tests of applications and plugins."""

from scalekit.asgi_client import ReceivedResponse, request, running
from scalekit.testing.conformance import PluginConformance

__all__ = ["PluginConformance", "ReceivedResponse", "request", "running"]
