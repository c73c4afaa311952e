from __future__ import annotations

from scalekit.testing import PluginConformance


class TestTracing(PluginConformance):
    name = "tracing"
