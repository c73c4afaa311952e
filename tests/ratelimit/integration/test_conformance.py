from __future__ import annotations

from scalekit.testing import PluginConformance


class TestRateLimit(PluginConformance):
    name = "ratelimit"
    table = {"default": "100/15m"}
