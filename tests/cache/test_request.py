"""Request directives, variants and invalidation (RFC 9111, sections 4.1, 4.4 and 5.2.1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from tests.cache.harness import CacheHarness, Origin, Pairs, Reply

pytestmark = pytest.mark.anyio

CC = "Cache-Control"


@pytest.mark.parametrize(
    ("stored", "after", "requested", "calls"),
    [
        ("max-age=3600", 3, "max-age=0", 2),
        ("max-age=3600", 3, "max-age=1", 2),
        ("max-age=3600", 3, "max-age=3", 1),
        ("max-age=3600, immutable", 3, "max-age=0", 1),
        ("max-age=2, immutable", 3, "max-age=0", 2),
        ("max-age=3600", 3, "no-cache", 2),
        ("max-age=3600", 3, "no-store", 2),
        ("max-age=1500", 0, "min-fresh=2000", 2),
        ("max-age=1500", 600, "min-fresh=1000", 2),
        ("max-age=1500", 300, "min-fresh=1000", 1),
        ("max-age=1, stale-if-error=0", 3, "max-stale=1000", 1),
        ("max-age=1", 3, "max-stale=1000", 1),
        ("max-age=1", 3, "max-stale", 1),
        ("max-age=1", 30, "max-stale=10", 2),
        ("max-age=1, must-revalidate", 3, "max-stale=1000", 2),
        ("s-maxage=1", 3, "max-stale=1000", 2),
        ("max-age=1, no-cache", 3, "max-stale=1000", 2),
        ("max-age=3600", 3, "extension", 1),
        ("max-age=3600", 3, "only-if-cached", 1),
    ],
)
async def test_request_directives_limit_age_or_allow_staleness(
    stored: str, after: float, requested: str, calls: int
) -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, stored)])))
    await harness.fetch()
    harness.pass_time(after)
    await harness.fetch(headers=[(CC, requested)])
    assert origin.calls == calls


async def test_no_cache_revalidates_a_response_with_a_validator() -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, "max-age=3600"), ("ETag", '"a"')], body=b"one")))
    await harness.fetch()
    assert (await harness.fetch(headers=[(CC, "no-cache")])).body == b"one"
    assert origin.header("if-none-match") == '"a"'


async def test_no_store_stores_nothing() -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, "max-age=3600")])))
    await harness.fetch(headers=[(CC, "no-store")])
    await harness.fetch()
    assert origin.calls == 2


async def test_only_if_cached_is_504_where_nothing_is_stored() -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, "max-age=1")])))
    response = await harness.fetch(headers=[(CC, "only-if-cached")])
    assert (response.status, origin.calls) == (504, 0)
    await harness.fetch()
    harness.pass_time(2)
    assert (await harness.fetch(headers=[(CC, "only-if-cached")])).status == 504
    assert origin.calls == 1


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH", "FOO"])
@pytest.mark.parametrize(("status", "calls"), [(200, 3), (204, 3), (303, 3), (404, 2), (500, 2)])
async def test_a_successful_unsafe_request_invalidates_stored_responses(method: str, status: int, calls: int) -> None:
    fresh = Reply([(CC, "max-age=3600")])
    harness = CacheHarness(origin := Origin(fresh, Reply(status=status), fresh))
    await harness.fetch("/a?b=1")
    await harness.fetch("/a?b=1", method)
    await harness.fetch("/a?b=1")
    assert origin.calls == calls


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE"])
async def test_a_safe_or_failed_request_invalidates_nothing(method: str) -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, "max-age=3600")])))
    await harness.fetch()
    await harness.fetch(method=method)
    await harness.fetch()
    assert origin.calls == 2


@pytest.mark.parametrize("name", ["Location", "Content-Location"])
@pytest.mark.parametrize(
    ("value", "calls"),
    [("/b", 3), ("b", 3), ("http://shop.example/b", 3), ("http://SHOP.example/b", 3), ("http://evil.example/b", 2),
     ("http://[", 2), ("", 2)],
)  # fmt: skip
async def test_an_unsafe_request_invalidates_location_and_content_location_of_its_host(
    name: str, value: str, calls: int
) -> None:
    fresh = Reply([(CC, "max-age=3600")])
    harness = CacheHarness(origin := Origin(fresh, Reply([(name, value)], 201), fresh))
    await harness.fetch("/b")
    await harness.fetch("/a", "POST")
    await harness.fetch("/b")
    assert origin.calls == calls


@pytest.mark.parametrize("build", [Starlette, FastAPI])
async def test_an_unsafe_request_below_a_mount_invalidates_stored_responses(build: Callable[..., Any]) -> None:
    calls = 0

    async def page(request: Request) -> PlainTextResponse:
        nonlocal calls
        calls += 1
        return PlainTextResponse(str(calls), headers={"Cache-Control": "max-age=60"})

    routes = [Mount("/shop", routes=[Route("/items", page, methods=["GET", "POST"])])]
    harness = CacheHarness(build(routes=[Mount("/v1", build(routes=routes))]))
    responses = [await harness.fetch("/v1/shop/items", method) for method in ("GET", "GET", "POST", "GET")]
    assert [response.body for response in responses] == [b"1", b"1", b"2", b"3"]


async def test_an_unsafe_request_invalidates_every_variant() -> None:
    varies = Reply([(CC, "max-age=3600"), ("Vary", "Foo")])
    harness = CacheHarness(origin := Origin(varies, varies, Reply(), varies))
    for foo in "12":
        await harness.fetch(headers=[("Foo", foo)])
    await harness.fetch(method="POST")
    for foo in "12":
        await harness.fetch(headers=[("Foo", foo)])
    assert origin.calls == 5


Requests = tuple[Pairs, Pairs]


@pytest.mark.parametrize(
    ("vary", "first", "second", "calls"),
    [
        ("Foo", [("Foo", "1")], [("Foo", "1")], 1),
        ("Foo", [("Foo", "1")], [("Foo", "2")], 2),
        ("foo", [("Foo", "1")], [("fOO", "1")], 1),
        ("Foo", [("Foo", "1")], [], 2),
        ("Foo", [("Foo", "")], [], 2),
        ("Foo", [], [], 1),
        ("Foo", [("Foo", "1"), ("Other", "2")], [("Foo", "1"), ("Other", "3")], 1),
        ("Foo, Bar", [("Foo", "1"), ("Bar", "a")], [("Bar", "a"), ("Foo", "1")], 1),
        ("Foo, Bar", [("Foo", "1"), ("Bar", "a")], [("Foo", "2"), ("Bar", "a")], 2),
        ("Foo, Bar", [("Foo", "a"), ("Bar", "b")], [("Foo", "b"), ("Bar", "a")], 2),
        ("Foo, Bar, Baz", [("Foo", "1"), ("Baz", "9")], [("Foo", "1"), ("Baz", "9")], 1),
        ("Foo", [("Foo", "1,2")], [("Foo", " 1, 2 ")], 1),
        ("Foo", [("Foo", "1, 2")], [("Foo", "1"), ("Foo", "2")], 1),
        ("Foo", [("Foo", '"1, 2"')], [("Foo", '"1,2"')], 2),
        ("Foo", [("Foo", "1, 2")], [("Foo", "2, 1")], 2),
        ("Accept-Encoding", [("Accept-Encoding", "gzip, br")], [("Accept-Encoding", "BR,gzip")], 1),
        ("Accept-Encoding", [("Accept-Encoding", "gzip")], [("Accept-Encoding", "br")], 2),
        ("Accept-Language", [("Accept-Language", "en, de")], [("Accept-Language", "de, en")], 2),
        ("*", [], [], 2),
        (", *", [("*", "1")], [("*", "1")], 2),
    ],
)
async def test_responses_vary_by_the_headers_in_vary(vary: str, first: Pairs, second: Pairs, calls: int) -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, "max-age=5000"), ("Vary", vary)])))
    await harness.fetch(headers=first)
    await harness.fetch(headers=second)
    assert origin.calls == calls


async def test_several_variants_are_stored() -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, "max-age=5000"), ("Vary", "Foo")])))
    bodies = [(await harness.fetch(headers=[("Foo", foo)])).body for foo in "121212"]
    assert bodies == [b"1", b"2"] * 3
    assert origin.calls == 2


async def test_the_names_of_the_secondary_key_only_grow() -> None:
    by_foo, by_bar, by_none = (
        Reply([(CC, "max-age=5000"), *vary]) for vary in ([("Vary", "Foo")], [("Vary", "Bar")], [])
    )
    harness = CacheHarness(origin := Origin(by_foo, by_bar, by_none))
    await harness.fetch(headers=[("Foo", "1")])
    await harness.fetch(headers=[("Foo", "2"), ("Bar", "1")])
    await harness.fetch(headers=[("Foo", "2"), ("Bar", "2")])
    assert origin.calls == 3
    assert (await harness.fetch(headers=[("Foo", "2"), ("Bar", "1")])).body == b"2"
    assert (await harness.fetch(headers=[("Foo", "2"), ("Bar", "2")])).body == b"3"


async def test_different_queries_are_different_resources_and_their_order_does_not_matter() -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, "max-age=5000")])))
    targets = ["/?a=1&b=2", "/?b=2&a=1", "/?a=2&b=1", "/?a=1", "/?a=1&a=2", "/?a=2&a=1", "/", "/?"]
    bodies = [(await harness.fetch(target)).body for target in targets]
    assert bodies == [b"1", b"1", b"2", b"3", b"4", b"5", b"6", b"6"]
    assert origin.calls == 6


@pytest.mark.parametrize(
    "headers",
    [[("Content-Length", "3")], [("Transfer-Encoding", "chunked")], [("If-Match", '"a"')], [("Upgrade", "h2c")]],
)
async def test_a_get_with_a_body_or_upgrade_bypasses_the_cache(headers: Pairs) -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, "max-age=5000")])))
    await harness.fetch()
    await harness.fetch(headers=headers)
    await harness.fetch(headers=headers)
    assert origin.calls == 3


@pytest.mark.parametrize(
    ("stored", "missing"),
    [
        ([("Connection", "a, b"), ("a", "1"), ("b", "2"), ("c", "3")], ["connection", "a", "b"]),
        ([("Keep-Alive", "1"), ("Proxy-Authenticate", "x"), ("Upgrade", "y"), ("TE", "z"), ("c", "3")],
         ["keep-alive", "proxy-authenticate", "upgrade", "te"]),
        ([(CC, 'no-cache="a, b"'), ("a", "1"), ("b", "2"), ("c", "3")], ["a", "b"]),
        ([("X-Request-ID", "1"), ("Scalekit-Consistency", "token"), ("c", "3")],
         ["x-request-id", "scalekit-consistency"]),
    ],
)  # fmt: skip
async def test_hop_by_hop_and_per_request_headers_are_not_stored(stored: Pairs, missing: list[str]) -> None:
    harness = CacheHarness(origin := Origin(Reply([*stored, (CC, "max-age=3600")])))
    first = await harness.fetch()
    assert all(first.header(name) is not None for name in missing)
    second = await harness.fetch()
    assert [name for name in missing if second.header(name) is not None] == []
    assert (second.header("c"), origin.calls) == ("3", 1)


@pytest.mark.parametrize("name", ["Test-Header", "Content-Type", "WWW-Authenticate", "Strict-Transport-Security"])
async def test_any_other_header_is_stored(name: str) -> None:
    harness = CacheHarness(Origin(Reply([(CC, "max-age=3600"), (name, "one"), (name, "two")])))
    await harness.fetch()
    response = await harness.fetch()
    assert [value for key, value in response.headers if key == name.lower().encode()] == [b"one", b"two"]
