"""Helpers for tests of applications and plugins."""

from scalekit.testing.conformance import PluginConformance
from scalekit.testing.inprocess import TestResponse, request, running

__all__ = ["PluginConformance", "TestResponse", "request", "running"]
