"""``@cached`` declares a policy at a handler, in every framework that sets the endpoint."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from litestar import Controller, Litestar, Router, get
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from scalekit_cache import cached
from scalekit_cache.decorator import DecoratorState
from scalekit_cache.policies import CachePolicy
from tests.cache.harness import CacheHarness, Pairs

pytestmark = pytest.mark.anyio


class Counter:
    """Responds with the number of the call."""

    def __init__(self, status: int = 200) -> None:
        self.calls = 0
        self.status = status

    async def response(self, request: Request) -> Response:
        self.calls += 1
        return PlainTextResponse(str(self.calls), self.status)


def shop(status: int = 200, **terms: Any) -> tuple[ASGIApp, Counter]:
    counter = Counter(status)

    @cached(**terms)
    async def page(request: Request) -> Response:
        return await counter.response(request)

    return Starlette(routes=[Route("/page", page), Route("/other", counter.response)]), counter


async def is_shared(app: ASGIApp, *targets: str, headers: Pairs = (), policy: CachePolicy | None = None) -> bool:
    """Return whether all *targets* get the response to the first."""
    harness = CacheHarness(app, [("/**", policy)] if policy else ())
    responses = [await harness.fetch(target, headers=headers) for target in targets]
    return len({response.body for response in responses}) == 1


@pytest.mark.parametrize(
    ("targets", "shared"),
    [
        (["/page?page=1&utm=a", "/page?utm=b&page=1", "/page?page=1"], True),
        (["/page?utm=a", "/page?utm=b", "/page", "/page?"], True),
        (["/page?page=1", "/page?page=2"], False),
        (["/page?p%61ge=1", "/page"], False),
        (["/page", "/page?page=1"], False),
        (["/other?page=1", "/other?page=1&utm=b"], False),
    ],
)
async def test_query_params_of_a_handler_select_the_key(targets: list[str], shared: bool) -> None:
    app, _ = shop(ttl="1h", query_params=["page"])
    assert await is_shared(app, *targets) == shared


async def test_query_params_of_a_policy_have_precedence_over_those_of_the_handler() -> None:
    app, _ = shop(ttl="1h", query_params=["page"])
    assert not await is_shared(app, "/page?a=1", "/page?a=2", policy=CachePolicy(query=frozenset({b"a"})))


async def test_an_unsafe_request_invalidates_the_response_of_the_shortened_query() -> None:
    app, _ = shop(ttl="1h", query_params=["page"])
    harness = CacheHarness(app)
    await harness.fetch("/page?utm=1")
    response = await harness.fetch("/page?utm=2")
    assert response.body == b"1"
    harness.serve(Starlette(routes=[Route("/page", Counter().response, methods=["POST"])]))
    await harness.fetch("/page?utm=3", "POST")
    harness.serve(app)
    assert (await harness.fetch("/page?utm=4")).body == b"2"


async def test_a_handler_may_ignore_cookies() -> None:
    app, _ = shop(ttl="1h", cookies="ignore")
    assert await is_shared(app, "/page", "/page", headers=[("Cookie", "a=b")])
    app, _ = shop(ttl="1h")
    assert not await is_shared(app, "/page", "/page", headers=[("Cookie", "a=b")])


async def test_the_ttl_of_a_handler_applies_to_its_statuses() -> None:
    app, _ = shop(404, ttl="1h", statuses=[200, 404])
    assert await is_shared(app, "/page", "/page")
    app, _ = shop(404, ttl="1h")
    assert not await is_shared(app, "/page", "/page")


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"ttl": "1 fortnight"}, "fortnight"),
        ({"ttl": "1h", "vary": "Accept"}, r'vary must be a list of names, got .Accept.; write vary=\["Accept"\]'),
        ({"ttl": "1h", "tags": "items"}, "tags must be a list"),
        ({"ttl": "1h", "query_params": "page"}, "query_params must be a list"),
        ({"ttl": "1h", "vary_by": "user"}, 'vary_by must be "identity" or None'),
        ({"ttl": "1h", "cookies": "keep"}, 'cookies must be "private" or "ignore"'),
        ({"ttl": "1h", "early_refresh": 1.0}, "early_refresh must be a fraction"),
    ],
)
def test_invalid_arguments_raise_value_error(terms: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cached(**terms)


async def test_arguments_ignore_case() -> None:
    terms: dict[str, Any] = {"ttl": "1h", "vary_by": "Identity", "cookies": "IGNORE"}
    app, _ = shop(**terms)
    assert await is_shared(app, "/page", "/page", headers=[("Cookie", "a=b"), ("Authorization", "c")])


calls = 0


def count() -> str:
    global calls
    calls += 1
    return str(calls)


HOURLY = cached(ttl="1h")


def starlette() -> ASGIApp:
    @HOURLY
    async def page(request: Request) -> Response:
        return PlainTextResponse(count())

    return Starlette(routes=[Mount("/below", routes=[Route("/page", page)])])


def starlette_class() -> ASGIApp:
    class Page(HTTPEndpoint):
        @HOURLY
        async def get(self, request: Request) -> Response:
            return PlainTextResponse(count())

    return Starlette(routes=[Route("/below/page", Page)])


def starlette_partial() -> ASGIApp:
    @HOURLY
    async def page(greeting: str, request: Request) -> Response:
        return PlainTextResponse(greeting + count())

    return Starlette(routes=[Route("/below/page", partial(page, "hello"))])


def wrapped() -> ASGIApp:
    def logged(handler: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(handler)
        async def inner(request: Request) -> Any:
            return await handler(request)

        return inner

    @logged
    @HOURLY
    async def page(request: Request) -> Response:
        return PlainTextResponse(count())

    return Starlette(routes=[Route("/below/page", page)])


def fastapi() -> ASGIApp:
    router = APIRouter()

    @router.get("/page")
    @HOURLY
    def page() -> str:
        return count()

    app = FastAPI()
    app.include_router(router, prefix="/below")
    return app


def litestar() -> Any:
    @get("/page", sync_to_thread=False)
    @HOURLY
    def page() -> str:
        return count()

    return Litestar([Router("/below", route_handlers=[page])])


def litestar_outside() -> Any:
    @HOURLY
    @get("/below/page")
    async def page() -> str:
        return count()

    return Litestar([page])


def litestar_controller() -> Any:
    class Below(Controller):
        path = "/below"

        @get("/page")
        @HOURLY
        async def page(self) -> str:
            return count()

    return Litestar([Below])


@pytest.mark.parametrize(
    "build",
    [
        starlette,
        starlette_class,
        starlette_partial,
        wrapped,
        fastapi,
        litestar,
        litestar_outside,
        litestar_controller,
    ],
)
async def test_cached_takes_effect_in_every_framework_that_sets_the_endpoint(build: Callable[[], ASGIApp]) -> None:
    harness = CacheHarness(build())
    first, second = [await harness.fetch("/below/page") for _ in range(2)]
    assert (first.status, first.body) == (second.status, second.body)
    assert "hit" in (second.header("cache-status") or "")


async def bare(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.sleep(0)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def test_a_missing_endpoint_is_logged_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Copying:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await self.app({**scope}, receive, send)

    inside = Starlette(routes=[Mount("/", app=starlette())], middleware=[Middleware(Copying)])
    for app in (cached(ttl="1h")(bare), Copying(starlette()), inside):
        monkeypatch.setattr(DecoratorState, "missing_endpoint_logged", False)
        caplog.clear()
        harness = CacheHarness(app)
        with caplog.at_level(logging.ERROR, "scalekit.cache"):
            for _ in range(3):
                await harness.fetch("/below/page")
        (record,) = caplog.records
        assert "@cached has no effect on '/below/page'" in record.getMessage()


async def test_a_404_of_the_router_logs_no_missing_endpoint(caplog: pytest.LogCaptureFixture) -> None:
    harness = CacheHarness(starlette())
    with caplog.at_level(logging.ERROR, "scalekit.cache"):
        await harness.fetch("/nothing")
    assert not caplog.records
