from __future__ import annotations

from scalekit.testing import PluginConformance


class TestConsole(PluginConformance):
    name = "console"
