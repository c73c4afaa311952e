from __future__ import annotations

from scalekit.testing import PluginConformance


class TestCors(PluginConformance):
    name = "cors"
    table = {"origins": ["https://shop.example"]}
