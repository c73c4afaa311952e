"""Who may see pages and act: operators by address, by bearer token, or with the cookie of a login."""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from scalekit import PageAccess, Server
from scalekit_console.sessions import OperatorSessions

SESSION_COOKIE = "scalekit_console"
CSRF_COOKIE = "scalekit_console_csrf"
CSRF_FIELD = "csrf_token"


@dataclass(frozen=True, slots=True)
class Operator:
    """A client that may see pages; *by* says how it was recognized: address, token or session."""

    client: str
    by: str


class ConsoleAccess:
    """Recognizes operators, by the cookie of a login too; *session_ttl* is the lifetime of the cookie in seconds."""

    def __init__(self, server: Server, session_ttl: float, sessions: OperatorSessions) -> None:
        token = server.operator_token
        self._pages = PageAccess(server)
        self._token = token.get_secret_value().encode() if token else None
        self._session_ttl = session_ttl
        self._sessions = sessions

    @property
    def has_login(self) -> bool:
        """Whether operators can sign in."""
        return self._token is not None

    def identify(self, request: Request) -> Operator | None:
        """Return the operator that sent *request*, or None."""
        client = request.client.host if request.client else "a local socket"
        if self._pages.by_token(request.scope):
            return Operator(client, "token")
        if self._sessions.exists(request.cookies.get(cookie_name(request, SESSION_COOKIE), "")):
            return Operator(client, "session")
        if self._pages.by_address(request.scope):
            return Operator(client, "address")
        return None

    def check_token(self, token: str) -> bool:
        """Return whether *token* is the operator's."""
        return self._token is not None and hmac.compare_digest(token.encode(errors="replace"), self._token)

    def refusal(self, request: Request) -> str:
        """Return why the client of *request* is not an operator, and the remedy."""
        return self._pages.refusal(request.scope)

    async def start_session(self, response: Response, request: Request) -> None:
        """Start a session and set its cookie; raises Unavailable when the supervisor does not respond."""
        cookie = await self._sessions.start()
        self._set(response, request, SESSION_COOKIE, cookie, int(self._session_ttl))

    async def end_session(self, response: Response, request: Request) -> None:
        """End the session in all workers and delete its cookie; raises Unavailable without the supervisor."""
        name = cookie_name(request, SESSION_COOKIE)
        await self._sessions.end(request.cookies.get(name, ""))
        response.delete_cookie(name, cookie_path(request))

    def csrf_token(self, request: Request) -> str:
        """Return the token that forms send beside its cookie, a new one without a cookie."""
        found = request.cookies.get(cookie_name(request, CSRF_COOKIE), "")
        return found if len(found) == 32 and found.isalnum() else secrets.token_hex(16)

    def set_csrf_cookie(self, response: Response, request: Request, token: str) -> None:
        """Set the cookie with *token*, unless *request* has it."""
        if request.cookies.get(cookie_name(request, CSRF_COOKIE)) != token:
            self._set(response, request, CSRF_COOKIE, token, None)

    def _set(self, response: Response, request: Request, name: str, value: str, max_age: int | None) -> None:
        secure = request.scope["scheme"] == "https"
        name, path = cookie_name(request, name), cookie_path(request)
        response.set_cookie(name, value, max_age, path=path, secure=secure, httponly=True, samesite="strict")


def cookie_name(request: Request, name: str) -> str:
    """Return the cookie *name* with the port of the Host: browsers send cookies to all ports of a host."""
    port = request.headers.get("host", "").rpartition(":")[2]
    return f"{name}_{port}" if port.isdecimal() and port.isascii() else name


def cookie_path(request: Request) -> str:
    """Return the path of the console's pages, to which cookies are sent."""
    return f"{request.scope.get('root_path', '')}/-/"


def foreign_origin(request: Request) -> str:
    """Return why a page of another site may have sent *request*, and the remedy, or an empty text.

    ``Sec-Fetch-Site`` is decided by the browser, which knows the address that the client sees. Browsers omit it on
    plain HTTP: there the Origin must have the Host, which a proxy may have replaced.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        return "" if site == "same-origin" else f"a page of another site has sent the request ({site})"
    host = request.headers.get("host", "")
    if origin is None or origin.lower() in (f"http://{host.lower()}", f"https://{host.lower()}"):
        return ""
    remedy = "a proxy must send the Host of the client with its port, in nginx: proxy_set_header Host $http_host"
    return f"the request is from {origin[:200]!r} and not from {host[:200]!r}; {remedy}"


def forgery(request: Request, sent_token: str | None) -> str:
    """Return why a page of another site may have sent *request* (CSRF), and the remedy, or an empty text.

    *sent_token* is that of a form, or None for JSON, which pages of other sites cannot send without the permission
    that a preflight asks for.
    """
    if reason := foreign_origin(request):
        return reason
    if sent_token is None:
        return ""
    cookie = request.cookies.get(cookie_name(request, CSRF_COOKIE), "")
    same = hmac.compare_digest(sent_token.encode(errors="replace"), cookie.encode(errors="replace"))
    expired = request.headers.get("origin") is None or not cookie or not same
    return "the form has expired; load the page again" if expired else ""
