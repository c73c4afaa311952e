from __future__ import annotations

from scalekit.testing import PluginConformance


class TestReplica(PluginConformance):
    name = "replica"
    beside = {"pool": {"url": "sqlite:///:memory:"}}
