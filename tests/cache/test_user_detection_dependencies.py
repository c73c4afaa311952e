"""Dependencies of FastAPI that get the request itself may tell users apart by any header."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from fastapi.responses import PlainTextResponse
from starlette.requests import HTTPConnection, Request

from scalekit_cache.policies import CachePolicy
from tests.cache.harness import CacheHarness

pytestmark = pytest.mark.anyio


def who(request: HTTPConnection) -> str:
    return request.headers.get("X-Shop-Who", "")


class Who:
    async def __call__(self, request: Request) -> str:
        return who(request)


def known(name: Annotated[str, Depends(who)]) -> str:
    return name


LOOKING: dict[str, Any] = {"a function": who, "an object": Who(), "one below another": known, "a partial": partial(who)}


@pytest.mark.parametrize("dependency", LOOKING.values(), ids=LOOKING.keys())
@pytest.mark.parametrize("together", [False, True], ids=["in turn", "at once"])
async def test_a_dependency_that_gets_the_request_may_take_any_header(dependency: Any, together: bool) -> None:
    async def ask(user: str) -> str:
        return (await harness.ask("/me", headers=[("X-Shop-Who", user)] if user else [])).body.decode()

    app = FastAPI()
    app.get("/me", response_class=PlainTextResponse)(me_of(dependency))
    crowd = ["alice", "bob", "", "alice", "bob"]
    harness = CacheHarness(app, [("/**", CachePolicy(ttl=3600.0))])
    got = await asyncio.gather(*map(ask, crowd)) if together else [await ask(user) for user in crowd]
    for user, body in zip(crowd, got, strict=True):
        assert body in (user, "")


def me_of(dependency: Any) -> Any:
    async def me(name: str) -> str:
        return name

    me.__annotations__["name"] = Annotated[str, Depends(dependency)]
    return me


@pytest.mark.parametrize("header", ["User-Agent", "X-Shop-Theme", "X-Request-ID"])
async def test_what_tells_nobody_apart_is_stored_whatever_gets_the_request(header: str) -> None:
    app = FastAPI()
    app.get("/me", response_class=PlainTextResponse)(me_of(who))
    harness = CacheHarness(app, [("/**", CachePolicy(ttl=3600.0, vary=(b"x-shop-theme",)))])
    said = [(await harness.ask("/me", headers=[(header, "a")])).header("cache-status") or "" for _ in range(2)]
    assert "hit" in said[1]
