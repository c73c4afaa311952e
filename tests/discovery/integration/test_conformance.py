from __future__ import annotations

from scalekit.testing import PluginConformance


class TestDiscovery(PluginConformance):
    name = "discovery"
    table = {"services": {"inventory": ["http://127.0.0.1:8001"]}}
