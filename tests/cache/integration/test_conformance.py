from __future__ import annotations

from scalekit.testing import PluginConformance


class TestCache(PluginConformance):
    name = "cache"
