"""Every plugin of the project, and the plugin of the tests, passes the conformance tests."""

from __future__ import annotations

import pytest

from scalekit import Decision, Exchange, Filter, create_app
from scalekit.host import ChainLink, Host
from scalekit.testing import PluginConformance
from scalekit.testing.conformance import bare_application


class TestVisits(PluginConformance):
    name = "visits"


class Writes(Filter):
    """Writes request headers where filters further in do not see it."""

    def on_request(self, exchange: Exchange) -> Decision:
        exchange.scope["headers"] = [*exchange.scope["headers"], (b"x-guest", b"ada")]
        return None


def test_a_filter_that_changes_headers_in_the_scope_fails_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def host(self: PluginConformance) -> Host:
        built = create_app({}, app=bare_application)
        built.links = [ChainLink("RESOURCES", "visits", Writes())]
        return built

    monkeypatch.setattr(TestVisits, "host", host)
    with pytest.raises(AssertionError, match=r"exchange\.replace_headers"):
        TestVisits().test_inner_filters_and_the_application_see_the_same_request_headers()
