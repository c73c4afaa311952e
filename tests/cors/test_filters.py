"""Preflights and responses of a whole application: what plugins refuse has the headers too."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from scalekit import create_app
from scalekit.host import Host
from scalekit.testing import ReceivedResponse, request, running

pytestmark = pytest.mark.anyio

SHOP = "https://shop.example"
PREFLIGHT = {"origin": SHOP, "access-control-request-method": "POST", "access-control-request-headers": "content-type"}


async def hello(request: Request) -> Response:
    return PlainTextResponse("hello", headers={"cache-control": "public, max-age=60"})


async def fault(request: Request) -> Response:
    raise RuntimeError("a fault")


ROUTES = [Route("/", hello, methods=["GET", "POST"]), Route("/fault", fault), Route("/api/me", hello)]


def host(app: Any = None, **tables: Any) -> Host:
    plugins = {"cors": {"origins": [SHOP]}, **tables.pop("plugins", {})}
    return create_app({"plugins": plugins, **tables}, app=app or Starlette(routes=ROUTES))


def all_of(headers: list[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    return [value for key, value in headers if key.lower() == name]


def cors_headers(response: ReceivedResponse) -> list[tuple[str, str]]:
    headers = [(name.decode(), value.decode()) for name, value in response.headers]
    return [each for each in headers if each[0].lower().startswith("access-control-")]


def responding(headers: list[tuple[bytes, bytes]]) -> ASGIApp:
    """Return an application whose responses have *headers*."""

    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b""})

    return respond


async def test_a_preflight_never_reaches_limits_tokens_or_the_application() -> None:
    app = host(
        plugins={
            "ratelimit": {"default": "1/h"},
            "jwt": {"secret": "s" * 32, "session_store": "memory", "protected_paths": ["/api/**"]},
        }
    )
    async with running(app) as state:
        for _ in range(3):
            response = await request(app, "/api/me", method="OPTIONS", headers=PREFLIGHT, state=state)
            assert response.status == 200
            assert response.header("access-control-allow-origin") == SHOP
            assert response.header("access-control-max-age") == "600"
            assert response.header("ratelimit") is None


async def test_refusals_and_errors_have_the_headers() -> None:
    app = host(
        plugins={
            "ratelimit": {"default": "4/h"},
            "jwt": {"secret": "s" * 32, "session_store": "memory", "protected_paths": ["/api/**"]},
        },
        server={"max_body": 10, "allowed_hosts": ["localhost"]},
    )
    found = {}
    async with running(app) as state:

        async def get(target: str, **options: Any) -> None:
            headers = {"origin": SHOP, **options.pop("headers", {})}
            response = await request(app, target, headers=headers, state=state, **options)
            found[response.status] = response

        await get("/")
        await get("/missing")
        await get("/api/me")
        await get("/", headers={"host": "attacker.example"})
        await get("/", method="POST", body=b"x" * 11)
        with pytest.raises(RuntimeError, match="a fault"):
            await get("/fault")
        await get("/")
    assert sorted(found) == [200, 401, 404, 413, 421, 429]
    for response in found.values():
        assert all_of(response.headers, b"access-control-allow-origin") == [SHOP.encode()]
        assert b"Origin" in all_of(response.headers, b"vary")
        assert "Retry-After" in (response.header("access-control-expose-headers") or "")


async def test_a_response_without_origin_varies_by_it() -> None:
    app = host()
    async with running(app) as state:
        response = await request(app, "/", state=state)
    assert response.header("access-control-allow-origin") is None
    assert all_of(response.headers, b"vary") == [b"Origin"]


async def test_a_cached_response_gets_the_headers_of_each_request() -> None:
    app = host(plugins={"cache": {"policies": [{"path": "/", "ttl": "1m"}]}})
    async with running(app) as state:
        first = await request(app, "/", state=state)
        second = await request(app, "/", headers={"origin": SHOP}, state=state)
        other = await request(app, "/", headers={"origin": "https://other.example"}, state=state)
    assert "fwd" in (first.header("cache-status") or "")
    for hit in (second, other):
        assert "hit" in (hit.header("cache-status") or "")
        assert all_of(hit.headers, b"vary") == [b"Origin"]
    assert second.header("access-control-allow-origin") == SHOP
    assert other.header("access-control-allow-origin") is None


async def test_headers_of_the_applications_own_middleware_are_not_doubled() -> None:
    own = Middleware(CORSMiddleware, allow_origins=["https://own.example", SHOP], allow_credentials=True)
    app = host(Starlette(routes=ROUTES, middleware=[own]))
    async with running(app) as state:
        response = await request(app, "/", headers={"origin": SHOP}, state=state)
    assert all_of(response.headers, b"access-control-allow-origin") == [SHOP.encode()]
    assert all_of(response.headers, b"access-control-allow-credentials") == [b"true"]


@pytest.mark.parametrize("credentials", [False, True])
async def test_headers_of_the_applications_own_middleware_are_not_combined_with_those_of_the_plugin(
    credentials: bool,
) -> None:
    own = Middleware(
        CORSMiddleware, allow_origins=["https://own.example"], allow_credentials=True, expose_headers=["X-Own"]
    )
    app = host(
        Starlette(routes=ROUTES, middleware=[own]), plugins={"cors": {"origins": [SHOP], "credentials": credentials}}
    )
    async with running(app) as state:
        allowed, refused, by_own = [
            cors_headers(await request(app, "/", headers={"origin": origin, "cookie": "session=1"}, state=state))
            for origin in (SHOP, "https://other.example", "https://own.example")
        ]
    assert allowed == [
        ("access-control-allow-origin", SHOP),
        *([("access-control-allow-credentials", "true")] if credentials else []),
        ("access-control-expose-headers", "Retry-After, RateLimit, RateLimit-Policy, X-Request-ID"),
    ]
    assert refused == []
    assert sorted(by_own) == [
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-origin", "https://own.example"),
        ("access-control-expose-headers", "X-Own"),
    ]


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ([(b"Access-Control-Allow-Origin", SHOP.encode())], [("Access-Control-Allow-Origin", SHOP)]),
        ([(b"Access-Control-Allow-Origin", b"*")], [("Access-Control-Allow-Origin", "*")]),
        ([(b"Access-Control-Allow-Origin", b"https://own.example")], [("access-control-allow-origin", SHOP)]),
        ([(b"ACCESS-CONTROL-ALLOW-CREDENTIALS", b"true")], [("access-control-allow-origin", SHOP)]),
    ],
)
async def test_names_of_headers_are_compared_without_regard_to_case(
    own: list[tuple[bytes, bytes]], expected: list[tuple[str, str]]
) -> None:
    app = host(responding(own), plugins={"cors": {"origins": [SHOP], "expose": []}})
    async with running(app) as state:
        assert cors_headers(await request(app, "/", headers={"origin": SHOP}, state=state)) == expected


async def test_a_doubled_slash_evades_no_policy() -> None:
    policies = [{"path": "/admin/**", "origins": ["https://admin.example"]}]
    app = host(responding([]), plugins={"cors": {"origins": ["*"], "policies": policies}})
    async with running(app) as state:
        for target in ("/admin/users", "//admin/users"):
            assert cors_headers(await request(app, target, headers={"origin": SHOP}, state=state)) == []
            preflight = await request(app, target, method="OPTIONS", headers=PREFLIGHT, state=state)
            assert preflight.status == 403


async def test_options_without_a_preflight_reach_the_application() -> None:
    app = host()
    async with running(app) as state:
        response = await request(app, "/", method="OPTIONS", headers={"origin": SHOP}, state=state)
    assert response.status == 405


async def test_a_rejected_preflight_says_why() -> None:
    app = host()
    async with running(app) as state:
        response = await request(app, "/", method="OPTIONS", headers={**PREFLIGHT, "origin": "null"}, state=state)
    assert response.status == 403
    assert b"origin null is not allowed" in response.body
    assert response.header("access-control-allow-origin") is None


async def test_preflights_are_counted() -> None:
    app = host(plugins={"metrics": {}})
    async with running(app) as state:
        for origin in (SHOP, SHOP, "https://other.example"):
            await request(app, "/", method="OPTIONS", headers={**PREFLIGHT, "origin": origin}, state=state)
        page = await request(app, "/metrics", state=state)
    assert b'scalekit_cors_preflights_total{outcome="allowed"} 2' in page.body
    assert b'scalekit_cors_preflights_total{outcome="rejected"} 1' in page.body
