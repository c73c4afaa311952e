"""Helpers for tests of applications and plugins."""

from scalekit.asgi_client import ReceivedResponse, request, running
from scalekit.testing.conformance import PluginConformance
from scalekit.testing.query_budget import query_budget

__all__ = ["PluginConformance", "ReceivedResponse", "query_budget", "request", "running"]
