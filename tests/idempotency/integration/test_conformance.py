from __future__ import annotations

from scalekit.testing import PluginConformance


class TestIdempotency(PluginConformance):
    name = "idempotency"
    other_tables = {"pool": {"url": "sqlite:///:memory:"}}
