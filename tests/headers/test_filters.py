"""The headers of responses of the application, of plugins and of the host, and requests of other sites."""

from __future__ import annotations

import re
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from scalekit import ConfigError, ResourceError, create_app
from scalekit.host import Host
from scalekit.testing import request, running
from scalekit_headers import csp_nonce

pytestmark = pytest.mark.anyio

DEFAULTS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "strict-origin-when-cross-origin",
    "x-frame-options": "SAMEORIGIN",
    "cross-origin-opener-policy": "same-origin-allow-popups",
    "permissions-policy": "browsing-topics=()",
    "content-security-policy": "frame-ancestors 'self'",
}
HSTS = "max-age=15552000"
COOKIE = {"cookie": "session=1"}
CROSS_SITE = {"sec-fetch-site": "cross-site"}
STORED = {
    "Cache-Control": "public, max-age=60",
    "CDN-Cache-Control": "max-age=60",
    "ScaleKit-Cache-Control": "max-age=60",
    "Surrogate-Control": "max-age=60",
    "X-Accel-Expires": "60",
    "Expires": "Thu, 01 Jan 2099 00:00:00 GMT",
}


async def hello(request: Request) -> Response:
    return PlainTextResponse("hello", headers={"cache-control": "public, max-age=60"})


async def own(request: Request) -> Response:
    return PlainTextResponse(
        "own", headers={"x-frame-options": "DENY", "content-security-policy": "default-src 'none'"}
    )


async def page(request: Request) -> Response:
    nonce = csp_nonce(request)
    assert nonce == csp_nonce(request)
    return PlainTextResponse(nonce, headers=STORED)


async def fault(request: Request) -> Response:
    raise RuntimeError("a fault")


async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close()


ROUTES = [
    Route("/", hello, methods=["GET", "POST"]),
    Route("/own", own),
    Route("/page", page),
    Route("/fault", fault),
    WebSocketRoute("/socket", socket),
]


def host(table: dict[str, Any] | None = None, **tables: Any) -> Host:
    plugins = {"headers": table or {}, **tables.pop("plugins", {})}
    return create_app({"plugins": plugins, **tables}, app=Starlette(routes=ROUTES))


def found(response: Any) -> dict[str, str]:
    names = [name.decode() for name, _ in response.headers]
    assert len(names) == len(set(names)), "a header occurs twice"
    return {name: response.header(name) for name in names if name in DEFAULTS or name == "strict-transport-security"}


async def test_responses_refusals_and_errors_have_the_headers() -> None:
    app = host(plugins={"ratelimit": {"default": "2/h"}}, server={"max_body": 10})
    statuses = []
    async with running(app) as state:
        for target, body in (("/", b""), ("/", b"x" * 11), ("/missing", b""), ("/", b"")):
            response = await request(app, target, method="POST" if body else "GET", body=body, state=state)
            statuses.append(response.status)
            assert found(response) == DEFAULTS
    assert statuses == [200, 413, 404, 429]


async def test_headers_of_the_application_stay() -> None:
    app = host()
    async with running(app) as state:
        response = await request(app, "/own", state=state)
    expected = {**DEFAULTS, "x-frame-options": "DENY", "content-security-policy": "default-src 'none'"}
    assert found(response) == expected


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({}, HSTS),
        ({"hsts_max_age": "1d", "hsts_include_subdomains": True}, "max-age=86400; includeSubDomains"),
        (
            {"hsts_max_age": "365d", "hsts_include_subdomains": True, "hsts_preload": True},
            "max-age=31536000; includeSubDomains; preload",
        ),
        ({"hsts_max_age": "0s"}, None),
    ],
)
async def test_hsts_only_over_https(table: dict[str, Any], expected: str | None) -> None:
    app = host(table, server={"trusted_proxies": ["127.0.0.1"]})
    async with running(app) as state:
        plain = await request(app, "/", state=state)
        secure = await request(app, "/", headers={"x-forwarded-proto": "https"}, state=state)
    assert plain.header("strict-transport-security") is None
    assert secure.header("strict-transport-security") == expected


async def test_each_header_can_be_left_out() -> None:
    app = host(
        {
            "content_type_options": False,
            "referrer_policy": "",
            "frame_ancestors": [],
            "cross_origin_opener_policy": "",
            "permissions_policy": "",
        }
    )
    async with running(app) as state:
        assert found(await request(app, "/", state=state)) == {}


async def test_a_nonce_is_in_the_policy_and_its_page_is_not_stored() -> None:
    app = host(
        {
            "content_security_policy": "script-src {nonce} 'self'; object-src 'none'",
            "content_security_policy_report_only": "style-src {nonce}",
        },
        plugins={"cache": {"policies": [{"path": "/**", "ttl": "1m"}]}},
    )
    async with running(app) as state:
        pages = [await request(app, "/page", state=state) for _ in range(2)]
        plain = await request(app, "/", state=state)
    nonces = [response.body.decode() for response in pages]
    assert nonces[0] != nonces[1]
    for nonce, response in zip(nonces, pages, strict=True):
        assert re.fullmatch(r"[A-Za-z0-9_-]{24}", nonce)
        assert response.header("content-security-policy") == (
            f"script-src 'nonce-{nonce}' 'self'; object-src 'none'; frame-ancestors 'self'"
        )
        assert response.header("content-security-policy-report-only") == f"style-src 'nonce-{nonce}'"
        assert response.header("cache-control") == "no-store"
    assert plain.header("content-security-policy") == "script-src 'self'; object-src 'none'; frame-ancestors 'self'"
    assert plain.header("content-security-policy-report-only") == "style-src"
    assert plain.header("cache-control") == "public, max-age=60"


@pytest.mark.parametrize("table", [{}, {"content_security_policy": "script-src {nonce}"}])
async def test_no_cache_is_permitted_to_store_a_page_with_a_nonce(table: dict[str, Any]) -> None:
    app = host(table, plugins={"cache": {"policies": [{"path": "/**", "ttl": "1m"}]}})
    async with running(app) as state:
        pages = [await request(app, "/page", state=state) for _ in range(2)]
    assert pages[0].body != pages[1].body
    names = {name.lower() for name in STORED}
    for response in pages:
        found = [(name.decode().lower(), value) for name, value in response.headers]
        assert [each for each in found if each[0] in names] == [("cache-control", b"no-store")]


async def test_a_middleware_may_copy_the_scope() -> None:
    inner = Starlette(routes=ROUTES)

    async def copying(scope: Scope, receive: Receive, send: Send) -> None:
        await inner(dict(scope), receive, send)

    plugins = {"headers": {"content_security_policy": "script-src {nonce}"}}
    app = create_app({"plugins": plugins}, app=copying)
    async with running(app) as state:
        response = await request(app, "/page", state=state)
    policy = response.header("content-security-policy") or ""
    assert f"'nonce-{response.body.decode()}'" in policy
    assert response.header("cache-control") == "no-store"


async def test_a_nonce_without_the_plugin_is_an_error() -> None:
    app = create_app({"plugins": {}}, app=Starlette(routes=ROUTES))
    async with running(app) as state:
        with pytest.raises(ResourceError, match=r"turn on \[plugins\.headers\]"):
            await request(app, "/page", state=state)


async def test_headers_of_the_application_stay_in_any_case() -> None:
    own = [(b"X-Frame-Options", b"DENY"), (b"Content-Security-Policy", b"default-src 'none'")]

    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": own})
            await send({"type": "http.response.body", "body": b""})

    app = create_app({"plugins": {"headers": {}}}, app=respond)
    async with running(app) as state:
        response = await request(app, "/", state=state)
    found = sorted((name.lower(), value) for name, value in response.headers)
    assert [each for each in found if each[0] in (b"x-frame-options", b"content-security-policy")] == [
        (b"content-security-policy", b"default-src 'none'"),
        (b"x-frame-options", b"DENY"),
    ]


async def test_a_doubled_slash_evades_no_policy() -> None:
    app = host({"policies": [{"path": "/admin/**", "frame_ancestors": ["'none'"]}]})
    async with running(app) as state:
        for target in ("/admin/users", "//admin/users"):
            assert (await request(app, target, state=state)).header("x-frame-options") == "DENY"


async def test_policies_by_path_inherit() -> None:
    app = host({"referrer_policy": "no-referrer", "policies": [{"path": "/own", "permissions_policy": "camera=()"}]})
    async with running(app) as state:
        own, other = await request(app, "/own", state=state), await request(app, "/", state=state)
    assert (own.header("permissions-policy"), own.header("referrer-policy")) == ("camera=()", "no-referrer")
    assert other.header("permissions-policy") == "browsing-topics=()"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({**COOKIE, "sec-fetch-site": "same-origin"}, 200),
        ({**COOKIE, "sec-fetch-site": "none"}, 200),
        ({**COOKIE, "sec-fetch-site": "cross-site"}, 403),
        ({**COOKIE, "sec-fetch-site": "same-site"}, 403),
        ({**COOKIE, "sec-fetch-site": "cross-site", "origin": "https://partner.example"}, 200),
        ({**COOKIE, "origin": "http://localhost"}, 200),
        ({**COOKIE, "origin": "http://localhost:3000"}, 403),
        ({**COOKIE, "origin": "http://attacker.example"}, 403),
        ({**COOKIE, "origin": "null"}, 403),
        ({**COOKIE, "origin": "https://localhost"}, 403),
        ({**COOKIE, "origin": "ftp://localhost"}, 403),
        ({**COOKIE, "origin": "http://localhost", "host": "LOCALHOST:80"}, 200),
        ({**COOKIE, "origin": "http://localhost:443", "host": "localhost"}, 403),
        ({**COOKIE, "origin": "http://", "host": ""}, 403),
        ({**COOKIE, "origin": "https://localhost", "host": "localhost:443", "x-forwarded-proto": "https"}, 200),
        ({**COOKIE, "origin": "http://localhost", "x-forwarded-proto": "https"}, 403),
        (COOKIE, 200),
        ({}, 200),
        (CROSS_SITE, 403),
        ({"origin": "http://attacker.example"}, 403),
        ({**CROSS_SITE, "authorization": "Basic YWRhOngK"}, 403),
        ({**CROSS_SITE, "authorization": "Negotiate abc"}, 403),
        ({**CROSS_SITE, "authorization": "bearer abc"}, 200),
        ({**CROSS_SITE, "authorization": "DPoP abc"}, 200),
        ({**CROSS_SITE, **COOKIE, "authorization": "Bearer abc"}, 403),
    ],
)
async def test_requests_of_other_sites_change_nothing(headers: dict[str, str], status: int) -> None:
    table = {"csrf_protection": True, "csrf_trusted_origins": ["https://partner.example"]}
    app = host(table, server={"trusted_proxies": ["127.0.0.1"]})
    async with running(app) as state:
        assert (await request(app, "/", method="POST", headers=headers, state=state)).status == status
        assert (await request(app, "/", headers=headers, state=state)).status == 200


async def test_a_websocket_of_another_site_is_rejected() -> None:
    app = host({"csrf_protection": True})
    for origin, accepted in ((b"http://localhost", True), (b"http://attacker.example", False)):
        sent: list[str] = []

        async def receive() -> dict[str, Any]:
            return {"type": "websocket.connect"}

        async def send(message: Any, sent: list[str] = sent) -> None:
            sent.append(message["type"])

        scope = {
            "type": "websocket",
            "path": "/socket",
            "query_string": b"",
            "headers": [(b"host", b"localhost"), (b"cookie", b"session=1"), (b"origin", origin)],
            "client": ("127.0.0.1", 50000),
            "subprotocols": [],
        }
        async with running(app) as state:
            await app({**scope, "state": state}, receive, send)
        assert ("websocket.accept" in sent) == accepted


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"content_security_policy": "script-src {once}"}, "the only placeholder is {nonce}"),
        ({"permissions_policy": "a\nb"}, "printable ASCII on one line"),
        ({"csrf_trusted_origins": ["shop.example"]}, "expected scheme"),
        ({"csrf_trusted_origins": ["https://shop.example:443"]}, "browsers leave out the default port"),
        ({"referrer_policy": "nobody"}, "referrer_policy"),
    ],
)
def test_what_is_no_header_is_refused(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        host(table)
