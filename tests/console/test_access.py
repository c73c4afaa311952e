from __future__ import annotations

from http.cookies import SimpleCookie

from starlette.requests import Request
from starlette.responses import Response

from scalekit import Secret, Server
from scalekit_console.access import SESSION_COOKIE, ConsoleAccess, Operator


def request(cookie: str = "", scheme: str = "http") -> Request:
    headers = [(b"host", b"shop.example"), (b"cookie", cookie.encode())]
    scope = {"type": "http", "method": "GET", "path": "/-/", "scheme": scheme, "headers": headers, "query_string": b""}
    return Request({**scope, "client": ("203.0.113.9", 1), "server": ("shop.example", 80)})


def session(access: ConsoleAccess, scheme: str = "http") -> tuple[str, str]:
    """Return the cookie of a new session as a browser sends it, and the header that sets it."""
    response = Response()
    access.start_session(response, request(scheme=scheme))
    header = response.headers["set-cookie"]
    return f"{SESSION_COOKIE}={SimpleCookie(header)[SESSION_COOKIE].value}", header


def test_a_session_ends_after_its_time() -> None:
    now = 1000.0
    access = ConsoleAccess(Server(operator_token=Secret("token")), 60.0, lambda: now)
    cookie, _ = session(access)
    now = 1059.0
    assert access.identify(request(cookie)) == Operator("203.0.113.9", "session")
    now = 1060.0
    assert access.identify(request(cookie)) is None


def test_a_session_ends_with_the_token() -> None:
    cookie, _ = session(ConsoleAccess(Server(operator_token=Secret("token")), 60.0))
    assert ConsoleAccess(Server(operator_token=Secret("another")), 60.0).identify(request(cookie)) is None
    assert ConsoleAccess(Server(), 60.0).identify(request(cookie)) is None


def test_the_cookie_is_secure_over_https() -> None:
    access = ConsoleAccess(Server(operator_token=Secret("token")), 60.0)
    assert "Secure" not in session(access)[1]
    assert "; Secure" in session(access, "https")[1]
