from __future__ import annotations

from scalekit.testing import PluginConformance


class TestJwt(PluginConformance):
    name = "jwt"
    table = {"secret": "s" * 32}
