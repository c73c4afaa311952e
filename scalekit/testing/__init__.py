"""What tests of applications and plugins need."""

from scalekit.testing.conformance import PluginConformance
from scalekit.testing.inprocess import Answer, request, running

__all__ = ["Answer", "PluginConformance", "request", "running"]
