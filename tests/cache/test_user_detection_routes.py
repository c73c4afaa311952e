"""What routes of FastAPI and Litestar declare, or may read from the request, separates responses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import pytest
from fastapi import Cookie, Depends, FastAPI, Header
from fastapi.responses import PlainTextResponse
from litestar import Litestar, get
from litestar.di import NamedDependency, Provide
from litestar.params import CookieParameter, HeaderParameter
from pydantic import BaseModel
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from scalekit_cache import cached
from scalekit_cache.policies import CachePolicy
from tests.cache.harness import CacheHarness

pytestmark = pytest.mark.anyio


class Filters(BaseModel):
    x_color: str = ""
    x_size: str = ""


FILTERS = Header()


async def declared(theme: str = Header(""), filters: Filters = FILTERS) -> Response:
    return PlainTextResponse(f"{theme} {filters.x_color} {filters.x_size}")


async def by_cookie(who: str = Cookie("nobody")) -> Response:
    return PlainTextResponse(who)


async def by_key(x_api_key: str = Header("nobody")) -> Response:
    return PlainTextResponse(x_api_key)


def fastapi_shop() -> Any:
    app = FastAPI()
    for path, handler in (("/theme", declared), ("/cookie", by_cookie), ("/key", by_key)):
        app.get(path)(cached(ttl="1h")(handler))
    return app


def litestar_shop() -> Any:
    def color(
        x_color: Annotated[str, HeaderParameter(name="X-Color")] = "",
        x_size: Annotated[str, HeaderParameter(name="x-size")] = "",
    ) -> str:
        return f"{x_color} {x_size}"

    @get("/theme", media_type="text/plain", dependencies={"form": Provide(color, sync_to_thread=False)})
    @cached(ttl="1h")
    async def themed(form: NamedDependency[str], theme: Annotated[str, HeaderParameter(name="theme")] = "") -> str:
        return f"{theme} {form}"

    @get("/cookie", media_type="text/plain")
    @cached(ttl="1h")
    async def with_cookie(who: Annotated[str, CookieParameter(name="who")] = "nobody") -> str:
        return who

    @get("/key", media_type="text/plain")
    @cached(ttl="1h")
    async def with_key(key: Annotated[str, HeaderParameter(name="X-API-Key")] = "nobody") -> str:
        return key

    return Litestar([themed, with_cookie, with_key])


SHOPS = pytest.mark.parametrize("build", [fastapi_shop, litestar_shop], ids=["fastapi", "litestar"])


@SHOPS
async def test_a_route_varies_by_the_headers_that_it_declares(build: Callable[[], Any]) -> None:
    harness = CacheHarness(build())
    for name in ("theme", "x-color", "x-size"):
        for value in "ab":
            first, second = [await harness.fetch("/theme", headers=[(name, value)]) for _ in range(2)]
            assert first.body.decode().strip() == second.body.decode().strip() == value
            assert "hit" in (second.header("cache-status") or "")
    assert (await harness.fetch("/theme")).body == b"  "


@pytest.mark.parametrize(("path", "name", "prefix"), [("/cookie", "Cookie", "who="), ("/key", "X-API-Key", "")])
@pytest.mark.parametrize("options", [{}, {"cookies_identify": False}], ids=["private", "ignored"])
@SHOPS
async def test_a_response_to_a_declared_credential_is_not_stored(
    build: Callable[[], Any], path: str, name: str, prefix: str, options: dict[str, Any]
) -> None:
    harness = CacheHarness(build(), **options)
    hits = []
    for user in ("", "alice", "alice", "bob", ""):
        response = await harness.fetch(path, headers=[(name, prefix + user)] if user else [])
        assert response.body.decode() == (user or "nobody")
        hits.append("hit" in (response.header("cache-status") or ""))
    assert hits == [False, False, False, False, True]


def user_of(request: HTTPConnection) -> str:
    return request.headers.get("X-Shop-Who", "")


class UserDependency:
    async def __call__(self, request: Request) -> str:
        return user_of(request)


def nested(name: Annotated[str, Depends(user_of)]) -> str:
    return name


DEPENDENCIES: dict[str, Any] = {
    "a function": user_of,
    "an object": UserDependency(),
    "a nested one": nested,
    "a partial": partial(user_of),
}


@pytest.mark.parametrize("dependency", DEPENDENCIES.values(), ids=DEPENDENCIES.keys())
@pytest.mark.parametrize("together", [False, True], ids=["in turn", "at once"])
async def test_a_response_is_not_stored_when_a_dependency_takes_the_request_with_an_uncommon_header(
    dependency: Any, together: bool
) -> None:
    async def fetch(user: str) -> str:
        return (await harness.fetch("/me", headers=[("X-Shop-Who", user)] if user else [])).body.decode()

    app = FastAPI()
    app.get("/me", response_class=PlainTextResponse)(me_of(dependency))
    crowd = ["alice", "bob", "", "alice", "bob"]
    harness = CacheHarness(app, [("/**", CachePolicy(ttl=3600.0))])
    got = await asyncio.gather(*map(fetch, crowd)) if together else [await fetch(user) for user in crowd]
    for user, body in zip(crowd, got, strict=True):
        assert body in (user, "")


def me_of(dependency: Any) -> Any:
    async def me(name: str) -> str:
        return name

    me.__annotations__["name"] = Annotated[str, Depends(dependency)]
    return me


@pytest.mark.parametrize("header", ["User-Agent", "X-Shop-Theme", "X-Request-ID"])
async def test_common_headers_do_not_prevent_storing_when_a_dependency_takes_the_request(header: str) -> None:
    app = FastAPI()
    app.get("/me", response_class=PlainTextResponse)(me_of(user_of))
    harness = CacheHarness(app, [("/**", CachePolicy(ttl=3600.0, vary=(b"x-shop-theme",)))])
    statuses = [(await harness.fetch("/me", headers=[(header, "a")])).header("cache-status") or "" for _ in range(2)]
    assert "hit" in statuses[1]
