from __future__ import annotations

from scalekit.testing import PluginConformance


class TestHeaders(PluginConformance):
    name = "headers"
    table = {"csrf_protection": True, "content_security_policy": "script-src 'self' {nonce}"}
