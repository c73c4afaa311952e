from __future__ import annotations

from scalekit.testing import PluginConformance


class TestClusterCache(PluginConformance):
    name = "cluster-cache"
