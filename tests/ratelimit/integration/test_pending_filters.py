"""Limits in Redis are pipelined with the commands of inner filters and decide first."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scalekit import Decision, Exchange, Filter, LocalResponse, Pending
from scalekit.host import Host
from scalekit.http.filter_chain import FilterChain
from scalekit.http.route_template import RouteTemplates
from scalekit.testing import request, running
from scalekit_ratelimit.filters import LimitFilter
from scalekit_ratelimit.redis_limiter import RedisLimiter
from scalekit_redis import Redis
from tests.ratelimit.client import host, limit_items, policy
from tests.servers import Redis as Server

pytestmark = [pytest.mark.anyio, pytest.mark.needs("redis")]


@pytest.fixture(scope="module", name="server")
def a_server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture(autouse=True, params=[False, True], ids=["plain", "decorated"])
def handlers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run with and without a decorated handler."""
    monkeypatch.setattr("scalekit_ratelimit.filters.DECORATED", {"some"} if request.param else set())


class RedisLookup(Filter):
    """Sends a command to Redis while limits are pending, as a cache does, and returns *decision*."""

    runs_while_pending = True
    redis: Redis | None = None

    def __init__(self, decision: Decision = None) -> None:
        self.decision = decision
        self.pending: list[bool] = []

    def on_request(self, exchange: Exchange) -> Decision:
        self.pending.append(bool(exchange.pending))
        if self.redis is None:
            return self.decision
        return Pending(self.redis.get("something"), lambda: self.decision)


class Between(Filter):
    """Does not run while decisions are pending."""

    def on_request(self, exchange: Exchange) -> Decision:
        return None


class CountingApp:
    """An application that counts its requests."""

    def __init__(self) -> None:
        self.times = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.times += 1
        await empty_response(scope, receive, send)


async def empty_response(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def limit_filters(host: Host) -> list[LimitFilter]:
    """Return the limit filters of *host*, outermost first."""
    return [link.filter for link in host.links if isinstance(link.filter, LimitFilter)]


def redis_of(host: Host) -> Redis:
    """Return the Redis client of the limiter of *host*."""
    limiter = limit_filters(host)[0].limiter
    assert limiter is not None
    assert limiter.shared is not None
    assert isinstance(limiter.shared.limiter, RedisLimiter)
    return limiter.shared.limiter._redis


def chain(filters: Sequence[Filter], app: ASGIApp = empty_response) -> FilterChain:
    return FilterChain(filters, app, RouteTemplates())


async def test_limit_checks_are_pipelined_with_the_command_of_an_inner_filter(
    server: Server, writes: list[int]
) -> None:
    server.cli("FLUSHALL")
    policies = [policy("a", "2/1d"), policy("users", "5/1d", key="subject")]
    limited = host({"url": server.url, "policies": policies, "store_timeout": "10s"})
    lookup, served = RedisLookup(), CountingApp()
    async with running(limited):
        limits = limit_filters(limited)
        assert len(limits) == 2
        app = chain([*limits, lookup], served)
        await request(app, "/", client=("203.0.113.1", 1))  # loads the script
        lookup.redis, served.times = redis_of(limited), 0
        del lookup.pending[:], writes[:]
        statuses = [(await request(app, "/")).status for _ in range(3)]
    assert statuses == [200, 200, 429]
    assert lookup.pending == [True] * 3
    assert served.times == 2, "a refused request does not reach the application"
    assert writes == [3, 3, 3], "both limits and the lookup share a write"


ONE = {"default": "1/1d"}
SEVERAL = {"policies": [policy("a", "1/1d"), policy("b", "5/1d")]}
LAYERS = {"policies": [policy("a", "5/1d"), policy("users", "1/1d", key="subject")]}
TABLES = pytest.mark.parametrize("table", [ONE, SEVERAL, LAYERS], ids=["one", "several", "layers"])


async def take_over(app: ASGIApp) -> None:
    pytest.fail("the filter ran before the limits decided")


@TABLES
async def test_the_response_of_an_inner_filter_is_sent_after_the_limits_have_decided(
    server: Server, table: dict[str, Any]
) -> None:
    server.cli("FLUSHALL")
    limited = host({"url": server.url, "store_timeout": "10s", **table})
    async with running(limited):
        app = chain([*limit_filters(limited), RedisLookup(LocalResponse(200, [], b"stored"))])
        responses = [await request(app, "/") for _ in range(2)]
    assert [response.status for response in responses] == [200, 429]
    assert limit_items(responses[0])
    assert responses[0].body == b"stored"


@TABLES
async def test_an_inner_filter_does_not_take_over_a_refused_request(server: Server, table: dict[str, Any]) -> None:
    server.cli("FLUSHALL")
    limited = host({"url": server.url, "store_timeout": "10s", **table})
    async with running(limited):
        limits = limit_filters(limited)
        await request(chain(limits), "/")
        assert (await request(chain([*limits, RedisLookup(take_over)]), "/")).status == 429


@TABLES
async def test_on_error_refuse_replaces_the_response_of_an_inner_filter(table: dict[str, Any]) -> None:
    class Losing(Filter):
        runs_while_pending = True

        def on_request(self, exchange: Exchange) -> Decision:
            lost = asyncio.ensure_future(asyncio.to_thread(own.kill))
            return Pending(lost, lambda: LocalResponse(200, [], b"stored"))

    with Server() as own:
        limited = host({"url": own.url, "store_timeout": "10s", "on_error": "refuse", **table})
        async with running(limited):
            own.pause()
            response = await request(chain([*limit_filters(limited), Losing()]), "/")
    assert (response.status, response.body.count(b"title")) == (503, 1)


async def test_limits_decide_before_the_application_runs_when_no_filter_runs_while_pending(server: Server) -> None:
    server.cli("FLUSHALL")
    seen: list[Message] = []

    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            seen.append(scope)
            await empty_response(scope, receive, send)

    app = host({"url": server.url, "default": "1/1d", "store_timeout": "10s"}, handler)
    async with running(app) as state:
        statuses = [(await request(app, "/", state=state)).status for _ in range(2)]
    assert statuses == [200, 429]
    assert len(seen) == 1


async def test_a_filter_behind_one_that_waits_runs_after_the_limits_have_decided(server: Server) -> None:
    server.cli("FLUSHALL")
    limited = host({"url": server.url, "default": "1/1d", "store_timeout": "10s"})
    lookup = RedisLookup()
    async with running(limited):
        app = chain([*limit_filters(limited), Between(), lookup])
        assert [(await request(app, "/")).status for _ in range(2)] == [200, 429]
    assert lookup.pending == [False], "the filter does not run for a refused request"


async def test_memory_does_not_count_a_request_that_an_outer_pending_filter_refuses() -> None:
    class Outer(Filter):
        def on_request(self, exchange: Exchange) -> Decision:
            reply = asyncio.ensure_future(asyncio.sleep(0))
            refused = LocalResponse(403, [], b"") if b"x-refused" in exchange.headers else None
            return Pending(reply, lambda: refused)

        request_headers = (b"x-refused",)

    limited = host({"default": "1/1d"})
    async with running(limited):
        app = chain([Outer(), *limit_filters(limited)])
        fields: list[dict[str, str]] = [{"x-refused": "1"}] * 3 + [{}, {}]
        statuses = [(await request(app, "/", headers=each)).status for each in fields]
    assert statuses == [403] * 3 + [200, 429]


async def test_limit_and_cache_are_one_round_trip(server: Server, writes: list[int]) -> None:
    calls = 0

    async def counted(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal calls
        calls += scope["type"] == "http"
        await empty_response(scope, receive, send)

    server.cli("FLUSHALL")
    cache = {"url": server.url, "policies": [{"path": "/**", "ttl": "1h"}]}
    table = {
        "url": server.url,
        "policies": [policy("a", "4/1d"), policy("users", "9/1d", key="subject")],
        "store_timeout": "10s",
    }
    first, second = host(table, counted, cache=cache), host(table, counted, cache=cache)
    async with running(first) as one, running(second) as two:
        assert (await request(first, "/x", state=one)).status == 200
        assert (await request(second, "/y", state=two)).status == 200
        while await asyncio.to_thread(server.cli, "KEYS", "*:lease:*"):  # until both responses are stored
            pass
        del writes[:]
        hit = await request(second, "/x", state=two)  # stored in Redis only
        assert "hit" in str(hit.header("cache-status"))
        assert len(writes) == 1, "the limits before and after authentication, and the lookup, are one write"
        assert limit_items(hit)["a"]["r"] == 1
        assert [name for name, _ in hit.headers].count(b"ratelimit-policy") == 2, "one for each of the two layers"
        assert (await request(second, "/x", state=two)).status == 200
        refused = await request(second, "/x", state=two)
        unseen = await request(second, "/z", state=two)
    assert (refused.status, unseen.status, calls) == (429, 429, 2)


async def test_a_cache_miss_waits_for_the_decision_of_the_limits_too(server: Server) -> None:
    methods: list[str] = []

    async def recording(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            methods.append(scope["method"])
            await empty_response(scope, receive, send)

    server.cli("FLUSHALL")
    cache = {"url": server.url}
    app = host({"url": server.url, "default": "3/1d", "store_timeout": "10s"}, recording, cache=cache)
    sent = ["POST", "PURGE", "HEAD", "POST", "HEAD", "GET"]
    async with running(app) as state:
        statuses = [(await request(app, "/", method=method, state=state)).status for method in sent]
    assert statuses == [200] * 3 + [429] * 3
    assert methods == sent[:3]
