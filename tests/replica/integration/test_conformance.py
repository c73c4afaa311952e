from __future__ import annotations

from scalekit.testing import PluginConformance


class TestReplica(PluginConformance):
    name = "replica"
    other_tables = {"pool": {"url": "sqlite:///:memory:"}}
