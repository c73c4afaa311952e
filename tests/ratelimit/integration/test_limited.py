"""The decorator ``@limited`` in every framework."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import litestar
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from scalekit import PluginError
from scalekit.testing import request, running
from scalekit.testing.conformance import bare_application
from scalekit_ratelimit import limited
from tests.ratelimit.client import QUOTA_EXCEEDED, host, limit_items

pytestmark = pytest.mark.anyio

CALLS: list[str] = []


@limited("2/15m", name="login")
async def login(request: Request) -> PlainTextResponse:
    CALLS.append("login")
    return PlainTextResponse("in")


@limited("2/15m", name="login")
def login_in_a_thread(request: Request) -> PlainTextResponse:
    CALLS.append("login")
    return PlainTextResponse("in")


async def other(request: Request) -> PlainTextResponse:
    return PlainTextResponse("other")


def starlette() -> ASGIApp:
    return Starlette(routes=[Route("/login", login), Route("/other", other)])


def in_threads() -> ASGIApp:
    return Starlette(routes=[Route("/login", login_in_a_thread), Route("/other", other)])


def fastapi() -> ASGIApp:
    app = FastAPI()

    @app.get("/login")
    @limited("2/15m", name="login")
    async def fast_login(word: str = "in") -> str:
        CALLS.append("login")
        return word

    @app.get("/other")
    async def fast_other() -> str:
        return "other"

    return app


def of_litestar() -> Any:
    @litestar.get("/login")
    @limited("2/15m", name="login")
    async def lite_login() -> str:
        CALLS.append("login")
        return "in"

    @litestar.get("/other")
    async def lite_other() -> str:
        return "other"

    return litestar.Litestar([lite_login, lite_other], openapi_config=None)


@pytest.mark.parametrize("make", [starlette, in_threads, fastapi, of_litestar])
async def test_a_decorated_handler_is_limited_with_the_same_response_in_every_framework(make: Any) -> None:
    app = host({"default": "10/15m"}, make())
    del CALLS[:]
    async with running(app) as state:
        responses = [await request(app, "/login", state=state) for _ in range(3)]
        free = await request(app, "/other", state=state)
        elsewhere = await request(app, "/login", state=state, client=("203.0.113.1", 1))
    assert [response.status for response in responses] == [200, 200, 429]
    assert CALLS == ["login"] * 3
    assert [limit_items(response)["login"]["r"] for response in responses] == [1, 0, 0]
    assert [limit_items(response)["default"]["r"] for response in responses] == [9, 8, 7]
    refusal = json.loads(responses[2].body)
    assert (refusal["type"], refusal["violated-policies"]) == (QUOTA_EXCEEDED, ["login"])
    assert responses[2].header("retry-after") == "450"
    assert set(limit_items(free)) == {"default"}
    assert elsewhere.status == 200


async def test_headers_of_a_decorated_handler_are_not_stored_with_its_response() -> None:
    app = host({"default": "10/15m"}, starlette(), cache={"policies": [{"path": "/**", "ttl": "1h"}]})
    del CALLS[:]
    async with running(app) as state:
        responses = [await request(app, "/login", state=state) for _ in range(4)]
    assert CALLS == ["login"]
    assert [response.status for response in responses] == [200] * 4
    assert [set(limit_items(response)) for response in responses] == [{"default", "login"}, *[{"default"}] * 3]
    assert [limit_items(response)["default"]["r"] for response in responses] == [9, 8, 7, 6]


async def test_a_429_of_a_decorated_handler_is_never_stored() -> None:
    async def suppressing(scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(HTTPException):
            await login(Request(scope))
        await bare_application(scope, receive, send)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (bare_application if scope["type"] == "lifespan" else suppressing)(scope, receive, send)

    limited_app = host({}, app, cache={"policies": [{"path": "/**", "ttl": "1h"}]})
    async with running(limited_app) as state:
        statuses = [(await request(limited_app, f"/{number}", state=state)).status for number in (1, 2, 3, 3)]
        elsewhere = await request(limited_app, "/3", state=state, client=("203.0.113.9", 1))
    assert statuses == [200, 200, 429, 429]
    assert elsewhere.status == 200


async def test_a_handler_decorated_while_the_application_runs_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    decorated: set[str] = set()
    for module in ("filters", "handler_limits"):
        monkeypatch.setattr(f"scalekit_ratelimit.{module}.DECORATED", decorated)
    routes = [Route("/other", other)]
    app = host({}, Starlette(routes=routes))
    async with running(app) as state:
        assert (await request(app, "/other", state=state)).status == 200
        later = Route("/later", limited("1/1d", name="later")(other))
        app.target.router.routes.append(later)  # type: ignore[attr-defined]  # a Starlette
        assert [(await request(app, "/later", state=state)).status for _ in range(2)] == [200, 429]


@pytest.mark.parametrize(("burst", "strictest", "limit"), [(9, "login", "2"), (1, "users", "9")])
async def test_legacy_headers_are_those_of_the_strictest_limit(burst: int, strictest: str, limit: str) -> None:
    users = {"name": "users", "limit": "9/15m", "key": "subject", "burst": burst}
    wide = {"name": "wide", "limit": "20/15m"}
    app = host({"policies": [wide, users], "legacy_headers": True}, starlette())
    async with running(app) as state:
        responses = [await request(app, "/login", state=state) for _ in range(3)]
    assert [response.header("x-ratelimit-limit") for response in responses] == [limit] * 3
    assert all([name for name, _ in response.headers].count(b"x-ratelimit-remaining") == 1 for response in responses)
    assert responses[2].header("x-ratelimit-remaining") == "0"
    assert json.loads(responses[2].body)["violated-policies"] == [strictest]


async def test_a_decorated_handler_is_not_limited_outside_of_a_request() -> None:
    assert (await login(None)).status_code == 200  # type: ignore[arg-type]  # the handler ignores it


def test_unsatisfiable_arguments_of_limited_are_refused() -> None:
    wrong: list[tuple[tuple[str, ...], dict[str, Any]]] = [
        ((), {}),
        (("often",), {}),
        (("2/s",), {"cost": 3}),
        (("2/s", "2/s"), {}),
        (("2/s",), {"key": "?"}),
    ]
    for limits, more in wrong:
        with pytest.raises((ValueError, PluginError)):
            limited(*limits, **more)(login)


@pytest.mark.parametrize("key", ["IP", "Subject", "HEADER:X-Key", ["Ip", "header:x-key"]])
@pytest.mark.parametrize("algorithm", ["GCRA", "Sliding-Window"])
def test_key_and_algorithm_are_case_insensitive(key: Any, algorithm: Any) -> None:
    limited("1/h", key=key, algorithm=algorithm)(other)


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"key": "user"}, r'expected "ip", "subject", .* got .user.'),
        ({"key": ["ip", "header:"]}, r"expected .* got .header:."),
        ({"key": []}, "key must name a property of the request"),
        ({"key": "application"}, "key must name a property of the request"),
        ({"algorithm": "leaky"}, "algorithm must be one of gcra, sliding-window, got .leaky."),
    ],
)
def test_an_unknown_key_or_algorithm_is_refused_at_the_decorator(terms: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        limited("1/h", **terms)(other)
