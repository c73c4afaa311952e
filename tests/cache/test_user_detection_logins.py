"""A response to one user never reaches another, in whichever way the application authenticates users."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI
from fastapi.responses import PlainTextResponse
from fastapi.security import APIKeyCookie, APIKeyHeader, APIKeyQuery, HTTPBasic, HTTPBearer, OAuth2PasswordBearer
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, BaseUser, SimpleUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from scalekit_cache import cached
from scalekit_cache.policies import CachePolicy
from tests.cache.harness import CacheHarness, Origin, Pairs, Reply

pytestmark = pytest.mark.anyio
CC = "Cache-Control"
UNKNOWN = "X-Shop-Who"


@dataclass(frozen=True)
class Login:
    """One way to identify the user to an application: *shows* returns query and headers of a user."""

    name: str
    build: Callable[[Callable[[Any], Any]], ASGIApp]
    shows: Callable[[str], tuple[str, Pairs]]
    is_declared: bool = True
    """Whether the cache knows the user before the application does."""


def in_header(name: str, prefix: str = "") -> Callable[[str], tuple[str, Pairs]]:
    return lambda user: ("", [(name, prefix + user)])


class Backend(AuthenticationBackend):
    """Authenticates the user that a header names."""

    def __init__(self, header: str) -> None:
        self.header = header

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser] | None:
        user = conn.headers.get(self.header)
        return (AuthCredentials(["authenticated"]), SimpleUser(user)) if user else None


def with_middleware(header: str) -> Callable[[Callable[[Any], Any]], ASGIApp]:
    def build(mark: Callable[[Any], Any]) -> ASGIApp:
        async def me(request: Request) -> Response:
            await asyncio.sleep(0)
            return PlainTextResponse(request.user.display_name or "nobody")

        middleware = [Middleware(AuthenticationMiddleware, backend=Backend(header))]
        return Starlette(routes=[Route("/me", mark(me))], middleware=middleware)

    return build


class StateLogin:
    """Middleware that sets its user in ``request.state``, in a copy of the scope."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            user = dict(scope["headers"]).get(UNKNOWN.lower().encode())
            scope["state"]["user"] = user.decode() if user else None
        await self.app({**scope}, receive, send)


def with_state(mark: Callable[[Any], Any]) -> ASGIApp:
    async def me(request: Request) -> Response:
        await asyncio.sleep(0)
        return PlainTextResponse(request.state.user or "nobody")

    return Starlette(routes=[Route("/me", mark(me))], middleware=[Middleware(StateLogin)])


def with_dependency(scheme: Any, name: Callable[[Any], str] = str) -> Callable[[Callable[[Any], Any]], ASGIApp]:
    def build(mark: Callable[[Any], Any]) -> ASGIApp:
        shown_by_scheme = Depends(scheme)

        def user_of(shown: Any = shown_by_scheme) -> str:
            return name(shown) if shown else "nobody"

        async def me(user: str = Depends(user_of)) -> Response:
            await asyncio.sleep(0)
            return PlainTextResponse(user)

        router = APIRouter()
        router.get("/me")(mark(me))
        app = FastAPI()
        app.include_router(router)
        return app

    return build


def with_router_dependency(mark: Callable[[Any], Any]) -> ASGIApp:
    """Return an application whose included router authenticates, which the route does not declare."""
    scheme = APIKeyHeader(name=UNKNOWN, auto_error=False)

    def note(request: Request, shown: str | None = Depends(scheme)) -> None:
        request.scope["shown"] = shown or "nobody"

    async def me(request: Request) -> Response:
        await asyncio.sleep(0)
        return PlainTextResponse(request.scope["shown"])

    router = APIRouter()
    router.get("/me")(mark(me))
    app = FastAPI()
    app.include_router(router, dependencies=[Depends(note)])
    return app


def bearer(shown: Any) -> str:
    return str(shown.credentials)


KNOWN = ["Authorization", "Cookie", "X-Token", "X-API-Key", "X-Forwarded-User", "X-MS-CLIENT-PRINCIPAL-NAME"]
LOGINS = [
    *(Login(f"middleware {header}", with_middleware(header), in_header(header)) for header in KNOWN),
    Login(f"middleware {UNKNOWN}", with_middleware(UNKNOWN), in_header(UNKNOWN), is_declared=False),
    Login("state", with_state, in_header(UNKNOWN), is_declared=False),
    *(
        Login(f"key {header}", with_dependency(APIKeyHeader(name=header, auto_error=False)), in_header(header))
        for header in ["X-API-Key", UNKNOWN]
    ),
    Login("cookie", with_dependency(APIKeyCookie(name="who", auto_error=False)), in_header("Cookie", "who=")),
    Login(
        "query",
        with_dependency(APIKeyQuery(name="key", auto_error=False)),
        lambda user: (f"?k%65y={user}", []),
        is_declared=False,
    ),
    Login("bearer", with_dependency(HTTPBearer(auto_error=False), bearer), in_header("Authorization", "Bearer ")),
    Login(
        "oauth2",
        with_dependency(OAuth2PasswordBearer(tokenUrl="t", auto_error=False)),
        in_header("Authorization", "Bearer "),
    ),
    Login("router", with_router_dependency, in_header(UNKNOWN)),
]
HOURLY = CachePolicy(ttl=3600.0)
TERMS: dict[str, tuple[Callable[[Any], Any], CachePolicy]] = {
    "cached": (cached(ttl="1h"), CachePolicy()),
    "cached by identity": (cached(ttl="1h", vary_by="identity"), CachePolicy()),
    "policy": (lambda handler: handler, HOURLY),
    "policy by identity": (lambda handler: handler, CachePolicy(ttl=3600.0, by_identity=True)),
    "policy without cookies": (lambda handler: handler, CachePolicy(ttl=3600.0, ignores_cookies=True)),
    "policy with a query": (lambda handler: handler, CachePolicy(ttl=3600.0, query=frozenset({b"page"}))),
    "both": (cached(ttl="1h"), CachePolicy(ttl=3600.0, by_identity=True, query=frozenset())),
}
CROWD = ["alice", "bob", "", "alice", "bob", ""]


@pytest.mark.parametrize("terms", TERMS)
@pytest.mark.parametrize("login", LOGINS, ids=lambda login: login.name)
@pytest.mark.parametrize("together", [False, True], ids=["in turn", "at once"])
async def test_no_user_gets_the_response_of_another(login: Login, terms: str, together: bool) -> None:
    async def fetch(user: str) -> str:
        query, headers = login.shows(user) if user else ("", [])
        response = await harness.fetch("/me" + query, headers=headers)
        assert response.status == 200
        return response.body.decode()

    mark, policy = TERMS[terms]
    for crowd in (CROWD, CROWD[2:]):
        ignores = policy.ignores_cookies and login.name == "middleware Cookie"  # cookies are ignored
        harness = CacheHarness(login.build(mark), [("/**", policy)])
        got = await asyncio.gather(*map(fetch, crowd)) if together else [await fetch(user) for user in crowd]
        for user, body in zip(crowd, got, strict=True):
            own = {user or "nobody"}
            assert body in (own if login.is_declared and not ignores else own | {"nobody"})


@pytest.mark.parametrize("login", LOGINS, ids=lambda login: login.name)
async def test_a_request_without_credentials_gets_stored_responses(login: Login) -> None:
    harness = CacheHarness(login.build(lambda handler: handler), [("/**", HOURLY)])
    await harness.fetch("/me")
    assert "hit" in ((await harness.fetch("/me")).header("cache-status") or "")


async def test_a_custom_security_scheme_may_read_cookies() -> None:
    class Session(HTTPBasic):
        async def __call__(self, request: HTTPConnection) -> Any:
            return request.cookies.get("who")

    app = with_dependency(Session(auto_error=False))(lambda handler: handler)
    harness = CacheHarness(app, [("/**", CachePolicy(ttl=3600.0, ignores_cookies=True))])
    for user in ("alice", "bob", "alice"):
        assert (await harness.fetch("/me", headers=[("Cookie", f"who={user}")])).body == user.encode()


async def test_a_user_that_the_application_authenticates_again_gets_hits() -> None:
    app = with_middleware("X-Token")(cached(ttl="1h", vary_by="identity"))
    harness = CacheHarness(app)
    user: dict[str, Any] = {"user": SimpleUser("alice"), "auth": AuthCredentials(["authenticated"])}
    _, response = [await harness.fetch("/me", headers=[("X-Token", "alice")], **user) for _ in range(2)]
    assert "hit" in (response.header("cache-status") or "")
    assert (await harness.fetch("/me", headers=[("X-Token", "bob")], **user)).body == b"bob"


async def test_a_client_certificate_is_a_credential() -> None:
    harness = CacheHarness(origin := Origin(Reply()), [("/**", HOURLY)])
    for _ in range(2):
        await harness.fetch(extensions={"tls": {"client_cert_name": "CN=alice"}})
    await harness.fetch()
    assert origin.calls == 3


class Sessions:
    """Middleware with the session of a cookie."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            cookie = dict(scope["headers"]).get(b"cookie")
            scope["session"] = {"user": cookie.decode()} if cookie else {}
        await self.app(scope, receive, send)


@pytest.mark.parametrize(
    ("policy", "options", "is_stored"),
    [
        (HOURLY, {}, False),
        (CachePolicy(ttl=3600.0, ignores_cookies=True), {}, False),
        (HOURLY, {"cookies_identify": False}, False),
        (CachePolicy(ttl=3600.0, by_identity=True), {}, True),
    ],
)
async def test_a_response_to_a_session_is_stored_only_by_identity(
    policy: CachePolicy, options: dict[str, Any], is_stored: bool
) -> None:
    async def me(request: Request) -> Response:
        return PlainTextResponse(request.session.get("user", "nobody"))

    app = Starlette(routes=[Route("/me", me)], middleware=[Middleware(Sessions)])
    harness = CacheHarness(app, [("/**", policy)], **options)
    hits = []
    for user in ("alice", "bob", "alice", "", "", "alice"):
        response = await harness.fetch("/me", headers=[("Cookie", user)] if user else [])
        is_hit = "hit" in (response.header("cache-status") or "")
        assert response.body.decode() == (user or "nobody") or (is_hit and response.body == b"nobody")
        hits.append(is_hit)
    assert hits[:5] == [False, False, is_stored, False, True]


async def test_a_background_refresh_that_a_user_caused_is_not_stored() -> None:
    async def me(request: Request) -> Response:
        headers = {CC: "max-age=10, stale-while-revalidate=60"}
        return PlainTextResponse(request.user.display_name or "nobody", headers=headers)

    middleware = [Middleware(AuthenticationMiddleware, backend=Backend(UNKNOWN))]
    harness = CacheHarness(Starlette(routes=[Route("/me", me)], middleware=middleware))
    await harness.fetch("/me")
    harness.pass_time(11)
    await harness.fetch("/me", headers=[(UNKNOWN, "alice")])
    await harness.settle()
    assert (await harness.fetch("/me")).body == b"nobody"
