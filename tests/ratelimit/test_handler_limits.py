"""Limits that the application counts itself, and their combination with decorated handlers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import litestar
import pytest
from fastapi import Depends, FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scalekit import Rate
from scalekit.contracts import LIMITS, Limits
from scalekit.testing import ReceivedResponse, request, running
from scalekit.testing.conformance import bare_application
from scalekit_ratelimit import limited
from scalekit_ratelimit.handler_limits import CURRENT, ApplicationLimits, RequestLimits
from scalekit_ratelimit.limits import make_limit
from scalekit_ratelimit.policies import RateLimitPolicy
from tests.ratelimit.client import QUOTA_EXCEEDED, host, limit_items, policy
from tests.servers import Redis as Server

pytestmark = pytest.mark.anyio
GUESSES = policy("guesses", "2/15m", key="application")
LIMITED = {"policies": [GUESSES]}


async def guess(limits: Limits, name: str) -> str:
    """Count a login attempt for *name*; the password is correct for the name "right"."""
    await limits.hit("guesses", name)
    if name == "right":
        await limits.reset("guesses", name)
    return str(await limits.remaining("guesses", name))


async def starlette_login(request: Request) -> Response:
    return PlainTextResponse(await guess(LIMITS(request), request.query_params["name"]))


def starlette() -> ASGIApp:
    return Starlette(routes=[Route("/", starlette_login)])


def with_own_handler() -> ASGIApp:
    async def teapot(request: Request, error: Exception) -> Response:
        return PlainTextResponse("teapot", 418)

    return Starlette(routes=[Route("/", starlette_login)], exception_handlers={HTTPException: teapot, 429: teapot})


FAST = FastAPI()


@FAST.get("/")
async def fast_login(name: str, limits: Limits = Depends(LIMITS)) -> Response:  # noqa: B008
    return PlainTextResponse(await guess(limits, name))


def of_litestar() -> Any:
    @litestar.get("/", media_type=litestar.MediaType.TEXT)
    async def lite_login(request: litestar.Request[Any, Any, Any]) -> str:
        limits = LIMITS(request)  # type: ignore[call-overload]  # only the scope is used
        return await guess(limits, str(request.query_params["name"]))

    return litestar.Litestar([lite_login], openapi_config=None)


async def bare(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    remaining = await guess(LIMITS(Request(scope)), Request(scope).query_params["name"])
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": remaining.encode()})


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.needs("redis"))])
def store(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    if request.param == "memory":
        yield {}
        return
    with Server() as server:
        yield {"url": server.url, "store_timeout": "30s"}


FRAMEWORKS: list[Callable[[], Any]] = [starlette, with_own_handler, lambda: FAST, of_litestar, lambda: bare]


@pytest.mark.parametrize("make", FRAMEWORKS, ids=["starlette", "own handler", "fastapi", "litestar", "bare"])
async def test_an_application_limit_returns_the_same_429_in_every_framework(make: Any, store: dict[str, Any]) -> None:
    app = host({**store, **LIMITED}, make())
    async with running(app) as state:

        async def log_in(name: str) -> ReceivedResponse:
            return await request(app, f"/?name={name}", state=state)

        assert [(await log_in("ada")).body for _ in range(2)] == [b"1", b"0"]
        refused = await log_in("ada")
        assert [(await log_in("right")).body for _ in range(5)] == [b"2"] * 5, "a successful login resets the counter"
        assert (await log_in("bob")).status == 200
    assert refused.status == 429
    assert refused.header("content-type") == "application/problem+json"
    assert 0 < int(str(refused.header("retry-after"))) <= 450
    assert limit_items(refused)["guesses"]["r"] == 0
    problem = json.loads(refused.body)
    assert (problem["type"], problem["violated-policies"]) == (QUOTA_EXCEEDED, ["guesses"])


async def test_application_limits_are_shared_by_all_instances(store: dict[str, Any]) -> None:
    if not store:
        return
    table = {**store, "policies": [policy("guesses", "50/15m", key="application")]}
    apps = [host(table, starlette()) for _ in range(3)]
    async with running(apps[0]) as one, running(apps[1]) as two, running(apps[2]) as three:
        states = [one, two, three]
        requests = [request(apps[at % 3], "/?name=ada", state=states[at % 3]) for at in range(120)]
        responses = await asyncio.gather(*requests)
        assert sum(response.status == 200 for response in responses) == 50
        await apps[0].context.get(LIMITS).reset("guesses", "ada")
        assert await apps[1].context.get(LIMITS).remaining("guesses", "ada") == 50


async def test_an_application_policy_counts_no_request_and_leaves_the_default_in_force() -> None:
    app = host({"default": "3/1h", **LIMITED}, starlette())
    async with running(app) as state:
        responses = [await request(app, f"/?name={number}", state=state) for number in range(5)]
    assert [response.status for response in responses] == [200, 200, 200, 429, 429]
    assert set(limit_items(responses[0])) == {"default"}


async def test_policy_and_application_limits_share_the_ratelimit_headers() -> None:
    app = host({"default": "9/1h", **LIMITED}, starlette())
    async with running(app) as state:
        responses = [await request(app, "/?name=ada", state=state) for _ in range(3)]
    assert set(limit_items(responses[2])) == {"default", "guesses"}
    assert limit_items(responses[2])["default"]["r"] == 6


@limited("5/1h", name="decorated")
async def both(request: Request) -> Response:
    return await starlette_login(request)


async def test_decorated_handlers_may_use_application_limits_too() -> None:
    app = host(LIMITED, Starlette(routes=[Route("/", both)]))
    async with running(app) as state:
        responses = [await request(app, f"/?name={name}", state=state) for name in "aaabbb"]
    assert [response.status for response in responses] == [200, 200, 429, 200, 200, 429]
    assert json.loads(responses[2].body)["violated-policies"] == ["guesses"]
    assert json.loads(responses[5].body)["violated-policies"] == ["decorated"]


async def test_outside_of_a_request_hit_raises_limit_exceeded() -> None:
    app = host(LIMITED)
    async with running(app):
        limits = app.context.get(LIMITS)
        for _ in range(2):
            await limits.hit("guesses", "ada")
        with pytest.raises(HTTPException) as caught:
            await limits.hit("guesses", "ada")
        assert caught.value.status_code == 429
        headers = dict(caught.value.headers or {})
        assert {"retry-after", "ratelimit", "ratelimit-policy"} <= headers.keys()
        with pytest.raises(ValueError, match=r"policy 'guess' does not have key = .*; policies that do: guesses"):
            await limits.hit("guess", "ada")
        with pytest.raises(TypeError, match="key must be a string, got int"):
            await limits.hit("guesses", 7)  # type: ignore[arg-type]  # the fault


async def test_a_dry_run_application_policy_refuses_no_request() -> None:
    app = host({"policies": [{**GUESSES, "dry_run": True}]}, starlette(), metrics={})
    async with running(app) as state:
        assert [(await request(app, "/?name=a", state=state)).status for _ in range(4)] == [200] * 4
        page = (await request(app, "/metrics", state=state)).body.decode()
    assert 'scalekit_ratelimit_dry_run_refused_total{policy="guesses"} 2' in page


async def test_keys_in_memory_are_bounded_in_number_and_length() -> None:
    app = host({"max_keys": 100, "policies": [GUESSES]})
    async with running(app):
        limits = app.context.get(LIMITS)
        for number in range(1000):
            await limits.hit("guesses", f"{number}" * 1000)
        assert isinstance(limits, ApplicationLimits)
        memory = limits._limiter.memory
        assert len(memory) <= 100
        assert all(len(key) < 64 for _, key in [*memory._young, *memory._old])


@given(st.text(), st.text())
def test_different_keys_never_share_a_counter(one: str, other: str) -> None:
    limits = ApplicationLimits({"p": _policy()}, None)  # type: ignore[arg-type]  # no hit is counted
    assert (limits._hits("p", one)[0].key == limits._hits("p", other)[0].key) == (one == other)


def _policy() -> RateLimitPolicy:
    return RateLimitPolicy("p", (make_limit("p", Rate("1/s")),))


@pytest.mark.parametrize("algorithm", ["gcra", "sliding-window"])
async def test_remaining_does_not_count_a_hit(algorithm: str, store: dict[str, Any]) -> None:
    policies = [policy("guesses", ["4/15m", "6/1d"], key="application", cost=2, algorithm=algorithm)]
    app = host({**store, "policies": policies})
    async with running(app):
        limits = app.context.get(LIMITS)
        assert [await limits.remaining("guesses", "a") for _ in range(3)] == [2] * 3
        await limits.hit("guesses", "a")
        assert [await limits.remaining("guesses", "a") for _ in range(3)] == [1] * 3
        await limits.hit("guesses", "a")
        assert await limits.remaining("guesses", "a") == 0
        assert await limits.remaining("guesses", "b") == 2


@pytest.mark.needs("redis")
@pytest.mark.parametrize(("on_error", "status"), [("local", 200), ("allow", 200), ("refuse", 503)])
async def test_application_limits_follow_on_error_while_redis_is_unavailable(on_error: str, status: int) -> None:
    with Server() as server:
        app = host({"url": server.url, "on_error": on_error, "policies": [GUESSES]}, starlette())
        async with running(app) as state:
            await asyncio.to_thread(server.kill)
            responses = [await request(app, f"/?name={name}", state=state) for name in ("a", "right")]
    assert {response.status for response in responses} == {status}


async def test_a_limit_exceeded_after_the_response_started_is_an_error_without_a_second_response() -> None:
    async def late(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(3):
            await LIMITS(Request(scope)).hit("guesses", "a")

    app = host(LIMITED, late)
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async with running(app) as state:
        scope = {"type": "http", "method": "GET", "path": "/", "raw_path": b"/", "query_string": b"", "headers": [],
                 "scheme": "http", "client": ("127.0.0.1", 1), "state": state}  # fmt: skip
        with pytest.raises(RuntimeError, match="after the response started"):
            await app(scope, None, send)  # type: ignore[arg-type]  # never receives
    assert [message["type"] for message in sent] == ["http.response.start"]


async def test_handler_limits_are_skipped_without_decorated_handlers_and_application_policies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("scalekit_ratelimit.filters.DECORATED", set())  # decorated by other tests
    limits: list[RequestLimits | None] = []

    async def recording(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            limits.append(CURRENT.get())
        await bare_application(scope, receive, send)

    for table in ({"default": "9/1h"}, {"default": "9/1h", **LIMITED}):
        app = host(table, recording)
        async with running(app) as state:
            await request(app, "/", state=state)
    assert [each is not None for each in limits] == [False, True]
