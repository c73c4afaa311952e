from __future__ import annotations

from scalekit.testing import PluginConformance


class TestMetrics(PluginConformance):
    name = "metrics"
