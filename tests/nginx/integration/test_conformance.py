from __future__ import annotations

from scalekit.testing import PluginConformance


class TestNginx(PluginConformance):
    name = "nginx"
