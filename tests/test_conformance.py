"""Every plugin of the project, and the one of the tests, keeps what the host relies on."""

from __future__ import annotations

from scalekit.testing import PluginConformance


class TestVisits(PluginConformance):
    name = "visits"
