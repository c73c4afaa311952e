from __future__ import annotations

from scalekit.testing import PluginConformance


class TestCompression(PluginConformance):
    name = "compression"
