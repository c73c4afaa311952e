from __future__ import annotations

import pytest
from starlette.requests import Request

from scalekit import Context, Key, PluginError, ResourceError, Table
from scalekit.config.tables import Server
from scalekit.context import RequestKey
from tests.host.asgi import http_scope

NUMBER: Key[int] = Key("number", plugin="numbers")
PATH: RequestKey[str] = RequestKey("path")


class Numbers(Table):
    start: int = 0


def context() -> Context:
    return Context(Server(), {Numbers: Numbers(start=7)})


def test_a_key_returns_the_resource_of_the_application_that_serves_the_request() -> None:
    one, other = context(), context()
    one.provide(NUMBER, 1)
    other.provide(NUMBER, 2)
    assert NUMBER(Request({**http_scope(), "scalekit": one})) == 1
    assert NUMBER(Request({**http_scope(), "scalekit": other})) == 2


def test_a_key_of_requests_returns_what_its_source_returns_for_the_request() -> None:
    provider = context()
    provider.provide(PATH.source, lambda connection: connection.url.path)
    assert PATH(Request({**http_scope(), "scalekit": provider})) == "/"


def test_a_resource_without_a_provider_is_reported_with_the_remedy() -> None:
    with pytest.raises(ResourceError, match=r"no started plugin provides 'number': turn on \[plugins.numbers\]"):
        context().get(NUMBER)


def test_a_request_without_a_started_application_is_an_error() -> None:
    with pytest.raises(ResourceError, match="did its lifespan run"):
        NUMBER(Request(http_scope()))


def test_a_resource_is_provided_once_at_a_time() -> None:
    shared = context()
    shared.provide(NUMBER, 1)
    with pytest.raises(ResourceError, match="'number' is provided twice"):
        shared.provide(NUMBER, 2)
    shared.withdraw(NUMBER)
    shared.provide(NUMBER, 2)
    assert shared.get(NUMBER) == 2


def test_keys_of_one_name_are_distinct() -> None:
    shared = context()
    shared.provide(NUMBER, 1)
    assert not shared.has(Key("number"))


def test_a_table_is_found_by_its_type() -> None:
    assert context().config(Numbers).start == 7
    with pytest.raises(PluginError, match="no enabled plugin has a table of type Server"):
        context().config(Server)
