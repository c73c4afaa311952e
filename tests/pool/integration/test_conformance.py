from __future__ import annotations

from scalekit.testing import PluginConformance


class TestConformance(PluginConformance):
    name = "pool"
    table = {"url": "sqlite:///:memory:"}
