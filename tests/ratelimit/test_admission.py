from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scalekit import admission
from scalekit.redis import Connections, Redis
from scalekit.telemetry import Telemetry
from scalekit.testing import request, running
from scalekit_ratelimit.middleware import LimitMiddleware
from tests.ratelimit.asking import host, policy, standing
from tests.servers import Redis as Server

pytestmark = [pytest.mark.anyio, pytest.mark.needs("redis")]


@pytest.fixture(scope="module", name="server")
def a_server() -> Iterator[Server]:
    with Server() as server:
        yield server


class Waiting:
    """Asks Redis for something of its own before it waits for the verdict, as a cache does."""

    awaits_admission = True

    def __init__(self, app: ASGIApp, redis: Redis | None = None, careless: bool = False) -> None:
        self.app = app
        self.redis = redis
        self.careless = careless
        self.pending: list[bool] = []
        self.ran = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.pending.append(admission.PENDING in scope)
        found = self.redis.get("something") if self.redis else None
        if not self.careless:
            await admission.admitted(scope)
        if found is not None:
            await found
        self.ran += 1
        await self.app(scope, receive, send)


async def answering(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def chained(app: Any, inner: ASGIApp) -> list[LimitMiddleware]:
    """Return the limits of *app*, outermost first, around *inner*."""
    links: list[LimitMiddleware] = []
    for part in reversed([part for part in app.parts if part.owner == "ratelimit"]):
        inner = LimitMiddleware(inner, *part.middleware.args)
        links.insert(0, inner)
    return links


async def test_the_verdict_travels_with_the_first_question_of_who_waits(server: Server, writes: list[int]) -> None:
    server.cli("FLUSHALL")
    policies = [policy("a", "2/1d"), policy("who", "5/1d", by="subject")]
    app = host({"url": server.url, "policies": policies, "deadline": "10s"})
    async with running(app) as state, Connections(Telemetry(10)).open(server.url) as redis:
        waiting = Waiting(answering)
        outer, inner = chained(app, waiting)
        assert (outer.defers, inner.defers) == (True, True)
        shared = inner.slot.limits.shared if inner.slot.limits else None
        assert shared is not None
        waiting.redis = shared.limits._redis
        await redis.get("to be connected")
        waiting.redis, known = None, waiting.redis
        await request(outer, "/", state=state, client=("203.0.113.1", 1))  # so that Redis knows the script
        waiting.redis, waiting.ran = known, 0
        del waiting.pending[:], writes[:]
        statuses = [(await request(outer, "/", state=state)).status for _ in range(3)]
    assert statuses == [200, 200, 429]
    assert waiting.pending == [True] * 3
    assert waiting.ran == 2, "nothing runs for who is refused"
    assert writes == [3, 3, 3], "both limits and the question share a write"


ONE = {"default": "1/1d"}
SEVERAL = {"policies": [policy("a", "1/1d"), policy("b", "5/1d")]}
LAYERS = {"policies": [policy("a", "5/1d"), policy("who", "1/1d", by="subject")]}


@pytest.mark.parametrize("table", [ONE, SEVERAL, LAYERS], ids=["one", "several", "layers"])
async def test_nothing_leaves_before_the_verdict_though_a_link_forgets_to_wait(
    server: Server, table: dict[str, Any]
) -> None:
    server.cli("FLUSHALL")
    app = host({"url": server.url, "deadline": "10s", **table})
    async with running(app) as state:
        outer = chained(app, Waiting(answering, careless=True))[0]
        answers = [await request(outer, "/", state=state) for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 429]


@pytest.mark.parametrize("table", [ONE, SEVERAL, LAYERS], ids=["one", "several", "layers"])
async def test_a_client_hears_that_nobody_knows_though_a_link_forgets_to_wait(table: dict[str, Any]) -> None:
    with Server() as own:
        app = host({"url": own.url, "deadline": "10s", "on_error": "refuse", **table})

        async def losing(scope: Scope, receive: Receive, send: Send) -> None:
            await asyncio.to_thread(own.kill)
            await answering(scope, receive, send)

        async with running(app) as state:
            own.pause()
            outer = chained(app, Waiting(losing, careless=True))[0]
            answer = await request(outer, "/", state=state)
    assert (answer.status, answer.body.count(b"title")) == (503, 1)


async def test_where_nobody_waits_the_limit_does_before_anything_runs(server: Server) -> None:
    server.cli("FLUSHALL")
    seen: list[Message] = []

    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            seen.append(scope)
            await answering(scope, receive, send)

    app = host({"url": server.url, "default": "1/1d", "deadline": "10s"}, handler)
    async with running(app) as state:
        asked = [(await request(app, "/", state=state)).status for _ in range(2)]
    assert asked == [200, 429]
    assert len(seen) == 1
    assert admission.PENDING not in seen[0]


async def test_a_waiting_link_behind_one_that_carries_nothing_is_not_waited_for() -> None:
    class Between:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

    assert admission.waits(Waiting(answering))
    assert not admission.waits(Between(Waiting(answering)))  # type: ignore[arg-type]
    assert not admission.waits(answering)


async def test_limit_and_cache_are_one_trip(server: Server, writes: list[int]) -> None:
    calls = 0

    async def counted(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal calls
        calls += scope["type"] == "http"
        await answering(scope, receive, send)

    server.cli("FLUSHALL")
    cache = {"url": server.url, "policies": [{"path": "/**", "ttl": "1h"}]}
    table = {
        "url": server.url,
        "policies": [policy("a", "4/1d"), policy("who", "9/1d", by="subject")],
        "deadline": "10s",
    }
    first, second = host(table, counted, cache=cache), host(table, counted, cache=cache)
    async with running(first) as one, running(second) as two:
        assert (await request(first, "/x", state=one)).status == 200
        assert (await request(second, "/y", state=two)).status == 200
        while await asyncio.to_thread(server.cli, "KEYS", "*:lease:*"):  # both answers are there, and all is quiet
            pass
        del writes[:]
        hit = await request(second, "/x", state=two)  # which only Redis has
        assert "hit" in str(hit.header("cache-status"))
        assert len(writes) == 1, "the limits before and after it is known who asks, and the look-up, are one write"
        assert standing(hit)["a"]["r"] == 1
        assert [name for name, _ in hit.headers].count(b"ratelimit-policy") == 2, "one for each of the two layers"
        assert (await request(second, "/x", state=two)).status == 200
        refused = await request(second, "/x", state=two)
        unseen = await request(second, "/z", state=two)
    assert (refused.status, unseen.status, calls) == (429, 429, 2)


async def test_what_the_cache_does_not_answer_waits_for_the_verdict_too(server: Server) -> None:
    methods: list[str] = []

    async def noting(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            methods.append(scope["method"])
            await answering(scope, receive, send)

    server.cli("FLUSHALL")
    cache = {"url": server.url}
    app = host({"url": server.url, "default": "3/1d", "deadline": "10s"}, noting, cache=cache)
    asked = ["POST", "PURGE", "HEAD", "POST", "HEAD", "GET"]
    async with running(app) as state:
        statuses = [(await request(app, "/", method=method, state=state)).status for method in asked]
    assert statuses == [200] * 3 + [429] * 3
    assert methods == asked[:3]
