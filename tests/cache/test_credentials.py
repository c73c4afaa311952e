"""Whatever tells users apart keeps their responses apart, also where only the application understands it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Cookie, Depends, FastAPI, Header
from fastapi.responses import PlainTextResponse
from fastapi.security import APIKeyCookie, APIKeyHeader, APIKeyQuery, HTTPBasic, HTTPBearer, OAuth2PasswordBearer
from litestar import Litestar, get
from litestar.di import NamedDependency, Provide
from litestar.params import CookieParameter, HeaderParameter
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, BaseUser, SimpleUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from scalekit_cache import cached
from scalekit_cache.credentials import (
    CREDENTIAL_HEADERS,
    MAX_CACHED_NAMES,
    MAX_NAME_LENGTH,
    HeaderRoles,
)
from scalekit_cache.policies import CachePolicy
from tests.cache.harness import CacheHarness, Origin, Pairs, Reply

pytestmark = pytest.mark.anyio

CC = "Cache-Control"
UNKNOWN = "X-Shop-Who"


@dataclass(frozen=True)
class Login:
    """One way to identify the user to an application: *shows* gives query and headers of a user."""

    name: str
    build: Callable[[Callable[[Any], Any]], ASGIApp]
    shows: Callable[[str], tuple[str, Pairs]]
    is_declared: bool = True
    """Whether the cache knows the user before the application does."""


def in_header(name: str, prefix: str = "") -> Callable[[str], tuple[str, Pairs]]:
    return lambda user: ("", [(name, prefix + user)])


class Backend(AuthenticationBackend):
    """Takes whoever a header names for that user."""

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
    """Middleware that leaves its user in ``request.state``, in a copy of the scope."""

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
    """Return an application whose included router authenticates, of which the route itself says nothing."""
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
async def test_nobody_gets_what_the_application_has_made_for_another(login: Login, terms: str, together: bool) -> None:
    async def ask(user: str) -> str:
        query, headers = login.shows(user) if user else ("", [])
        answer = await harness.ask("/me" + query, headers=headers)
        assert answer.status == 200
        return answer.body.decode()

    mark, policy = TERMS[terms]
    for crowd in (CROWD, CROWD[2:]):
        ignores = policy.ignores_cookies and login.name == "middleware Cookie"  # the file says that none matters
        harness = CacheHarness(login.build(mark), [("/**", policy)])
        got = await asyncio.gather(*map(ask, crowd)) if together else [await ask(user) for user in crowd]
        for user, body in zip(crowd, got, strict=True):
            own = {user or "nobody"}
            assert body in (own if login.is_declared and not ignores else own | {"nobody"})


@pytest.mark.parametrize("login", LOGINS, ids=lambda login: login.name)
async def test_who_shows_nothing_still_gets_what_is_stored(login: Login) -> None:
    harness = CacheHarness(login.build(lambda handler: handler), [("/**", HOURLY)])
    await harness.ask("/me")
    assert "hit" in ((await harness.ask("/me")).header("cache-status") or "")


NAMES = [
    "Proxy-Authorization",
    "X-API-Key",
    "Api-Key",
    "ApiKey",
    "X_API_Key",
    "X-Auth-Token",
    "X-Access-Token",
    "X-CSRF-Token",
    "X-CSRFToken",
    "X-XSRF-Token",
    "X-Token",
    "X-User",
    "X-User-Id",
    "X-Forwarded-User",
    "X-Remote-User",
    "Remote-User",
    "X-Auth-Request-User",
    "X-Auth-Request-Email",
    "X-Auth-Request-Access-Token",
    "X-Amzn-Oidc-Data",
    "X-Amzn-Oidc-Identity",
    "X-Amzn-Oidc-AccessToken",
    "Cf-Access-Jwt-Assertion",
    "X-Goog-IAP-JWT-Assertion",
    "X-Goog-Authenticated-User-Email",
    "X-MS-CLIENT-PRINCIPAL",
    "X-MS-CLIENT-PRINCIPAL-NAME",
    "X-Client-Cert",
    "X-MS-TOKEN-AAD-ID-TOKEN",
    "X-SSL-Client-S-DN",
    "X-ARR-ClientCert",
    "X-Forwarded-Client-Cert",
    "X-Amz-Security-Token",
    "X-Session-Id",
    "X-Shop-Secret-Key",
    "Private-Token",
    "X-Shopify-Access-Token",
    "X-Tenant-Id",
    "X-Consumer-Username",
]
COMMON = [
    "Accept",
    "Accept-Encoding",
    "Accept-Language",
    "User-Agent",
    "Referer",
    "Origin",
    "DNT",
    "Sec-Fetch-Mode",
    "Sec-CH-UA",
    "Priority",
    "Pragma",
    "X-Requested-With",
    "X-Request-ID",
    "X-Forwarded-For",
    "X-Real-IP",
    "Via",
    "Traceparent",
    "Tracestate",
    "Baggage",
    "X-Amzn-Trace-Id",
    "X-B3-TraceId",
    "CF-Ray",
    "CF-Connecting-IP",
    "CF-IPCountry",
    "True-Client-IP",
    "CDN-Loop",
    "Upgrade-Insecure-Requests",
    "Save-Data",
    "From",
    "TE",
    "X-Request-Timeout-Ms",
    "X-User-Agent",
    "Keep-Alive",
    "Connection",
]


async def test_headers_of_every_browser_and_proxy_do_not_count_as_credentials() -> None:
    harness = CacheHarness(origin := Origin(Reply()), [("/**", HOURLY)])
    for name in COMMON:
        await harness.ask(headers=[(name, name)])
    assert origin.calls == 1


async def test_what_is_remembered_of_headers_has_a_bound() -> None:
    meanings = HeaderRoles([b"host"], ["X-*"])
    assert [meanings[name] is None for name in (b"host", b"x-a", b"y", b"y" * (MAX_NAME_LENGTH + 1))] == [
        False,
        False,
        True,
        False,
    ]
    for number in range(2 * MAX_CACHED_NAMES):
        assert meanings[b"y-%d" % number] is None
        assert len(meanings) <= MAX_CACHED_NAMES
    assert meanings[b"host"] is not None


@pytest.mark.parametrize(("policy", "calls"), [(HOURLY, 3), (CachePolicy(ttl=3600.0, by_identity=True), 2)])
async def test_a_header_in_the_list_counts_as_a_credential(policy: CachePolicy, calls: int) -> None:
    for name in [*(pattern.replace("*", "Any") for pattern in CREDENTIAL_HEADERS), *NAMES]:
        harness = CacheHarness(origin := Origin(Reply()), [("/**", policy)])
        await harness.ask()
        await harness.ask(headers=[(name, "alice")])
        await harness.ask(headers=[(name, "alice")])
        assert (name, origin.calls) == (name, calls)
        assert (await harness.ask()).body == b"1"


@pytest.mark.parametrize(
    ("reply", "policy", "calls"),
    [
        (Reply([(CC, "public, max-age=60")]), CachePolicy(), 1),
        (Reply([(CC, "max-age=60"), ("Vary", "X-Api-Key")]), CachePolicy(), 2),
        (Reply(), CachePolicy(ttl=60.0, vary=(b"x-api-key",)), 2),
        (Reply([(CC, "max-age=60"), ("Vary", "X-Other")]), CachePolicy(), 4),
    ],
)
async def test_a_response_says_for_whom_it_is_whatever_the_credential(
    reply: Reply, policy: CachePolicy, calls: int
) -> None:
    harness = CacheHarness(origin := Origin(reply), [("/**", policy)])
    for key in "aabb":
        await harness.ask(headers=[("X-API-Key", key)])
    assert origin.calls == calls


async def test_the_file_has_a_list_of_its_own() -> None:
    harness = CacheHarness(origin := Origin(Reply()), [("/**", HOURLY)], credential_headers=("X-Weird",))
    for headers in ([("X-Weird", "a")], [("X-Weird", "b")], [("X_Weird", "b")], [], [("X-API-Key", "a")]):
        await harness.ask(headers=headers)
    assert origin.calls == 4, "the last two share"


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
            first, second = [await harness.ask("/theme", headers=[(name, value)]) for _ in range(2)]
            assert first.body.decode().strip() == second.body.decode().strip() == value
            assert "hit" in (second.header("cache-status") or "")
    assert (await harness.ask("/theme")).body == b"  "


@pytest.mark.parametrize(("path", "name", "prefix"), [("/cookie", "Cookie", "who="), ("/key", "X-API-Key", "")])
@pytest.mark.parametrize("options", [{}, {"cookies_identify": False}], ids=["private", "ignored"])
@SHOPS
async def test_a_response_to_a_declared_credential_is_not_stored(
    build: Callable[[], Any], path: str, name: str, prefix: str, options: dict[str, Any]
) -> None:
    harness = CacheHarness(build(), **options)
    said = []
    for user in ("", "alice", "alice", "bob", ""):
        answer = await harness.ask(path, headers=[(name, prefix + user)] if user else [])
        assert answer.body.decode() == (user or "nobody")
        said.append("hit" in (answer.header("cache-status") or ""))
    assert said == [False, False, False, False, True]


async def test_a_scheme_of_ones_own_may_look_at_cookies() -> None:
    class Session(HTTPBasic):
        async def __call__(self, request: HTTPConnection) -> Any:
            return request.cookies.get("who")

    app = with_dependency(Session(auto_error=False))(lambda handler: handler)
    harness = CacheHarness(app, [("/**", CachePolicy(ttl=3600.0, ignores_cookies=True))])
    for user in ("alice", "bob", "alice"):
        assert (await harness.ask("/me", headers=[("Cookie", f"who={user}")])).body == user.encode()


async def test_a_user_known_before_is_the_same_in_the_application() -> None:
    app = with_middleware("X-Token")(cached(ttl="1h", vary_by="identity"))
    harness = CacheHarness(app)
    who: dict[str, Any] = {"user": SimpleUser("alice"), "auth": AuthCredentials(["authenticated"])}
    _, answer = [await harness.ask("/me", headers=[("X-Token", "alice")], **who) for _ in range(2)]
    assert "hit" in (answer.header("cache-status") or "")
    assert (await harness.ask("/me", headers=[("X-Token", "bob")], **who)).body == b"bob"


async def test_a_certificate_of_the_client_is_a_credential() -> None:
    harness = CacheHarness(origin := Origin(Reply()), [("/**", HOURLY)])
    for _ in range(2):
        await harness.ask(extensions={"tls": {"client_cert_name": "CN=alice"}})
    await harness.ask()
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
    ("policy", "options", "is_kept"),
    [
        (HOURLY, {}, False),
        (CachePolicy(ttl=3600.0, ignores_cookies=True), {}, False),
        (HOURLY, {"cookies_identify": False}, False),
        (CachePolicy(ttl=3600.0, by_identity=True), {}, True),
    ],
)
async def test_a_session_is_stored_only_by_its_cookie(
    policy: CachePolicy, options: dict[str, Any], is_kept: bool
) -> None:
    async def me(request: Request) -> Response:
        return PlainTextResponse(request.session.get("user", "nobody"))

    app = Starlette(routes=[Route("/me", me)], middleware=[Middleware(Sessions)])
    harness = CacheHarness(app, [("/**", policy)], **options)
    said = []
    for user in ("alice", "bob", "alice", "", "", "alice"):
        answer = await harness.ask("/me", headers=[("Cookie", user)] if user else [])
        is_hit = "hit" in (answer.header("cache-status") or "")
        assert answer.body.decode() == (user or "nobody") or (is_hit and answer.body == b"nobody")
        said.append(is_hit)
    assert said[:5] == [False, False, is_kept, False, True]


async def test_a_refresh_on_behalf_of_a_user_is_not_stored_for_all() -> None:
    async def me(request: Request) -> Response:
        headers = {CC: "max-age=10, stale-while-revalidate=60"}
        return PlainTextResponse(request.user.display_name or "nobody", headers=headers)

    middleware = [Middleware(AuthenticationMiddleware, backend=Backend(UNKNOWN))]
    harness = CacheHarness(Starlette(routes=[Route("/me", me)], middleware=middleware))
    await harness.ask("/me")
    harness.pass_time(11)
    await harness.ask("/me", headers=[(UNKNOWN, "alice")])
    await harness.settle()
    assert (await harness.ask("/me")).body == b"nobody"
