from __future__ import annotations

from http.cookies import SimpleCookie

import pytest
from starlette.requests import Request
from starlette.responses import Response

from scalekit import Secret, Server
from scalekit.overrides import ProcessOverrides
from scalekit_console.access import SESSION_COOKIE, ConsoleAccess, Operator, cookie_name
from scalekit_console.sessions import GROUP, OperatorSessions

pytestmark = pytest.mark.anyio


def access_of(server: Server, ttl: float = 60.0) -> ConsoleAccess:
    return ConsoleAccess(server, ttl, OperatorSessions(server, ttl, ProcessOverrides().group(GROUP)))


def request(cookie: str = "", scheme: str = "http", host: str = "shop.example") -> Request:
    headers = [(b"host", host.encode()), (b"cookie", cookie.encode())]
    scope = {"type": "http", "method": "GET", "path": "/-/", "scheme": scheme, "headers": headers, "query_string": b""}
    return Request({**scope, "client": ("203.0.113.9", 1), "server": ("shop.example", 80)})


async def session(access: ConsoleAccess, scheme: str = "http") -> tuple[str, str]:
    """Return the cookie of a new session as a browser sends it, and the header that sets it."""
    response = Response()
    await access.start_session(response, request(scheme=scheme))
    header = response.headers["set-cookie"]
    return f"{SESSION_COOKIE}={SimpleCookie(header)[SESSION_COOKIE].value}", header


async def test_an_operator_is_recognized_by_its_session() -> None:
    access = access_of(Server(operator_token=Secret("token")))
    cookie, _ = await session(access)
    assert access.identify(request(cookie)) == Operator("203.0.113.9", "session")
    assert access.identify(request(cookie[:-1])) is None


async def test_the_cookie_is_secure_over_https() -> None:
    access = access_of(Server(operator_token=Secret("token")))
    assert "Secure" not in (await session(access))[1]
    assert "; Secure" in (await session(access, "https"))[1]


@pytest.mark.parametrize("host", ["shop.example", "[::1]", "", "shop.example:", "shop.example:x"])
async def test_a_host_without_a_port_has_the_plain_names_of_cookies(host: str) -> None:
    assert cookie_name(request(host=host), SESSION_COOKIE) == SESSION_COOKIE


@pytest.mark.parametrize("host", ["shop.example:8000", "[::1]:8000", "127.0.0.1:8000"])
async def test_each_port_of_a_host_has_cookies_of_its_own(host: str) -> None:
    assert cookie_name(request(host=host), SESSION_COOKIE) == f"{SESSION_COOKIE}_8000"
