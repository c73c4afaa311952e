from __future__ import annotations

from scalekit.testing import PluginConformance


class TestBroadcast(PluginConformance):
    name = "broadcast"
