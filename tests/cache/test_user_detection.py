"""A response to one user is never sent to another, in whichever way the application sets the user."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from inspect import signature
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.authentication import BaseUser, SimpleUser
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Host, Mount, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from scalekit.contracts import subject_in, subject_of
from scalekit_cache.policies import CachePolicy
from scalekit_cache.single_flight import LeaderFailed
from tests.cache.harness import CacheHarness

pytestmark = pytest.mark.anyio

WHO = "X-Shop-Who"
CROWD = ["alice", "bob", "", "alice", "bob"]
HOURLY = CachePolicy(ttl=3600.0)
SetUser = Callable[[Scope, str], None]


class Lazy:
    """A user that is loaded on access, which fails here."""

    @property
    def is_authenticated(self) -> bool:
        raise RuntimeError("not loaded")


class Ambiguous:
    """An object without truth value."""

    def __bool__(self) -> bool:
        raise ValueError("ambiguous")


def in_state(name: str) -> SetUser:
    def set_user(scope: Scope, user: str) -> None:
        scope["state"][name] = user

    return set_user


def in_new_state(scope: Scope, user: str) -> None:
    scope["state"] = {"user": user}


def in_scope(name: str, value: Callable[[str], Any]) -> SetUser:
    def set_user(scope: Scope, user: str) -> None:
        scope[name] = value(user)

    return set_user


NAMES = [
    "user",
    "currentUser",
    "user_info",
    "session_user",
    "uid",
    "sub",
    "tenant",
    "tenant_id",
    "org",
    "organization_id",
    "customer",
    "member",
    "viewer",
    "actor",
    "caller",
    "login",
    "profile",
    "jwt",
    "token",
    "token_data",
    "api_key",
    "client_id",
    "scopes",
    "roles",
    "permissions",
    "account_id",
    "is_authenticated",
]
LEFT: dict[str, SetUser] = {
    **{f"state {name}": in_state(name) for name in NAMES},
    "new state": in_new_state,
    "text": in_scope("user", str),
    "mapping": in_scope("user", lambda user: {"name": user}),
    "lazy": in_scope("user", lambda user: Lazy()),
    "lazy in state": lambda scope, user: in_state("user")(scope, Lazy()),  # type: ignore[arg-type]
    "ambiguous": lambda scope, user: in_state("user")(scope, Ambiguous()),  # type: ignore[arg-type]
}


def app_with_user(set_user: SetUser, start_first: bool) -> ASGIApp:
    """Return an application that sets the user, with *leave*, before its response starts or while it streams."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        user = dict(scope["headers"]).get(WHO.lower().encode(), b"").decode()
        start = {"type": "http.response.start", "status": 200, "headers": []}
        if start_first:
            await send(start)
            await send({"type": "http.response.body", "body": b"", "more_body": True})
        await asyncio.sleep(0)
        if user:
            set_user(scope, user)
        if not start_first:
            await send(start)
        await send({"type": "http.response.body", "body": user.encode()})

    return app


@pytest.mark.parametrize("together", [False, True], ids=["in turn", "at once"])
@pytest.mark.parametrize("start_first", [False, True], ids=["before", "in the stream"])
@pytest.mark.parametrize("left", LEFT)
async def test_a_response_to_a_detected_user_is_private(left: str, start_first: bool, together: bool) -> None:
    async def fetch(user: str) -> str:
        headers = [(WHO, user)] if user else []
        try:
            response = await harness.fetch(headers=headers, state={"user": None, "sub": None, "db": 1})
        except LeaderFailed:  # a follower has joined
            assert (start_first, together) == (True, True)
            return ""
        return response.body.decode()

    for crowd in (CROWD, CROWD[2:]):
        harness = CacheHarness(app_with_user(LEFT[left], start_first), [("/**", HOURLY)])
        got = await asyncio.gather(*map(fetch, crowd)) if together else [await fetch(user) for user in crowd]
        for user, body in zip(crowd, got, strict=True):
            assert body in (user, "")


async def me(request: Request) -> Response:
    return PlainTextResponse(request.user.display_name if "user" in request.scope else "")


class CopyingLogin:
    """Middleware that sets its user in a copy of the scope only, as ASGI recommends."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0)
        user = dict(scope["headers"]).get(WHO.lower().encode(), b"").decode()
        await self.app({**scope, "user": SimpleUser(user)} if user else scope, receive, send)


@pytest.mark.parametrize("together", [False, True], ids=["in turn", "at once"])
async def test_a_user_in_a_copy_of_the_scope_gets_their_own_response(together: bool) -> None:
    async def fetch(user: str) -> str:
        headers = [("User-Agent", "b"), ("Sec-Fetch-Mode", "cors"), ("X-Forwarded-For", "::1"), ("CF-Ray", "1")]
        response = await harness.fetch("/me", headers=[*headers, (WHO, user)] if user else headers)
        hits.append("hit" in (response.header("cache-status") or ""))
        return response.body.decode()

    for build in (Starlette, FastAPI):
        for crowd in (CROWD, [*CROWD[2:], "", ""]):
            hits: list[bool] = []
            app = build(routes=[Route("/me", me)])
            app.add_middleware(CopyingLogin)
            harness = CacheHarness(app, [("/**", HOURLY)])
            got = await asyncio.gather(*map(fetch, crowd)) if together else [await fetch(user) for user in crowd]
            for user, body in zip(crowd, got, strict=True):
                assert body in (user, "")
        assert together or hits[-1], "an anonymous request still gets the stored response"


COPYING = [Middleware(CopyingLogin)]
BELOW: dict[str, list[BaseRoute]] = {
    "of a route": [Route("/me", me, middleware=COPYING)],
    "inside one of Starlette's": [Route("/me", me, middleware=[Middleware(GZipMiddleware), *COPYING])],
    "of a mount": [Mount("/", routes=[Route("/me", me)], middleware=COPYING)],
    "of a route in a mount": [Mount("/", routes=[Route("/me", me, middleware=COPYING)])],
    "of a mounted application": [Mount("/", Starlette(routes=[Route("/me", me)], middleware=COPYING))],
    "around a mounted application": [Mount("/", CopyingLogin(FastAPI(routes=[Route("/me", me)])))],
    "of a mounted router": [Mount("/", Router([Route("/me", me)], middleware=COPYING))],
    "of a host": [Host("shop.example", Starlette(routes=[Route("/me", me)], middleware=COPYING))],
}


@pytest.mark.parametrize("routes", BELOW.values(), ids=BELOW.keys())
@pytest.mark.parametrize("together", [False, True], ids=["in turn", "at once"])
async def test_a_user_in_a_copy_of_the_scope_below_a_mount_gets_their_own_response(
    routes: list[BaseRoute], together: bool
) -> None:
    async def fetch(user: str) -> str:
        return (await harness.fetch("/me", headers=[(WHO, user)] if user else [])).body.decode()

    for build in (Starlette, FastAPI):
        harness = CacheHarness(build(routes=routes), [("/**", HOURLY)])
        got = await asyncio.gather(*map(fetch, CROWD)) if together else [await fetch(user) for user in CROWD]
        for user, body in zip(CROWD, got, strict=True):
            assert body in (user, "")


async def test_a_user_in_a_copy_of_the_scope_in_an_included_router_gets_their_own_response() -> None:
    router = APIRouter()
    router.routes.append(Route("/me", me, middleware=COPYING))
    app = FastAPI()
    app.include_router(router)
    harness = CacheHarness(app, [("/**", HOURLY)])
    for user in CROWD:
        response = await harness.fetch("/me", headers=[(WHO, user)] if user else [])
        assert response.body.decode() in (user, "")


@pytest.mark.parametrize("build", [Starlette, FastAPI])
@pytest.mark.parametrize("path", ["/plain", "/zipped", "/class", "/inner/plain"])
async def test_where_no_middleware_copies_the_scope_uncommon_headers_are_allowed(
    path: str, build: Callable[..., Any]
) -> None:
    class Page(HTTPEndpoint):
        async def get(self, request: Request) -> Response:
            return PlainTextResponse("page")

    limit: dict[str, Any] = {"max_body_size": 100} if "max_body_size" in signature(Route).parameters else {}
    routes: list[BaseRoute] = [
        Route("/plain", me),
        Route("/zipped", me, middleware=[Middleware(GZipMiddleware)], **limit),
        Route("/class", Page),
    ]
    harness = CacheHarness(build(routes=[*routes, Mount("/inner", build(routes=routes))]), [("/**", HOURLY)])
    statuses = [(await harness.fetch(path, headers=[(WHO, "a")])).header("cache-status") or "" for _ in range(2)]
    assert "hit" in statuses[1]


async def test_other_names_in_the_state_do_not_prevent_storing() -> None:
    names = [
        "user_agent",
        "db_session",
        "author",
        "request_uuid",
        "profiler",
        "view_rate_limit",
        "remembered",
        "factor",
    ]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"].update(dict.fromkeys(names, "x"), user="", tenant=None)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x"})

    harness = CacheHarness(app, [("/**", HOURLY)])
    _, response = [await harness.fetch() for _ in range(2)]
    assert "hit" in (response.header("cache-status") or "")


class Unnamed(BaseUser):
    """A user with an empty identity."""

    def __init__(self, name: str, identity: object) -> None:
        self.name = name
        self._identity = identity

    @property
    def is_authenticated(self) -> bool:
        return True

    @property
    def display_name(self) -> str:
        return self.name

    @property
    def identity(self) -> Any:
        if isinstance(self._identity, Exception):
            raise self._identity
        return self._identity


@pytest.mark.parametrize(
    "identity",
    [None, "", object(), KeyError("id"), RuntimeError("not loaded")],
    ids=lambda identity: type(identity).__name__,
)
async def test_users_without_an_identity_are_distinguished_by_their_names(identity: object) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["user"].name.encode()})

    harness = CacheHarness(app, [("/**", CachePolicy(ttl=3600.0, by_identity=True))])
    for name in ("alice", "bob", "alice"):
        assert (await harness.fetch(user=Unnamed(name, identity))).body == name.encode()
    assert subject_of(Unnamed("", identity)) is None


def test_a_user_whose_attributes_raise_has_no_name() -> None:
    assert subject_in({"type": "http", "user": Lazy()}) is None
    assert subject_in({"type": "http", "user": BaseUser()}) is None
