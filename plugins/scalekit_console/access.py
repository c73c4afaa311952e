"""Who may see pages and act: operators by address, by bearer token, or with the cookie of a login."""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from scalekit import OperatorAccess, Server

SESSION_COOKIE = "scalekit_console"
CSRF_COOKIE = "scalekit_console_csrf"
CSRF_FIELD = "csrf_token"
LOCAL_NAMES = ("localhost",)


@dataclass(frozen=True, slots=True)
class Operator:
    """A client that may see pages; *by* says how it was recognized: address, token or session."""

    client: str
    by: str


class ConsoleAccess:
    """Recognizes operators, and signs the cookies of their logins with a key of the operator's token."""

    def __init__(self, server: Server, session_ttl: float, clock: Callable[[], float] = time.time) -> None:
        token = server.operator_token
        self._by_token = OperatorAccess((), token)
        self._by_address = OperatorAccess(server.operator_networks, None)
        self._everybody = server.management_address is not None
        self._hosts = server.allowed_hosts
        self._key = _derive_key(token.get_secret_value()) if token else b""
        self._session_ttl = session_ttl
        self._clock = clock

    @property
    def has_login(self) -> bool:
        """Whether operators can sign in."""
        return bool(self._key)

    def identify(self, request: Request) -> Operator | None:
        """Return the operator that sent *request*, or None."""
        client = request.client.host if request.client else "a local socket"
        if self._by_token.admits(request.scope):
            return Operator(client, "token")
        if self._key and self._is_valid(request.cookies.get(SESSION_COOKIE, "")):
            return Operator(client, "session")
        if (self._everybody or self._by_address.admits(request.scope)) and self.knows_host(request):
            return Operator(client, "address")
        return None

    def knows_host(self, request: Request) -> bool:
        """Return whether the Host of *request* is an address, localhost or in ``server.allowed_hosts``.

        A page of another site whose name is rebound to this address runs in an operator's browser, which is recognized
        by its address.
        """
        host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
        if host in LOCAL_NAMES or host in self._hosts:
            return True
        try:
            ip_address(host)
        except ValueError:
            return False
        return True

    def check_token(self, token: str) -> bool:
        """Return whether *token* is the operator's."""
        found = self._by_token.token
        return found is not None and hmac.compare_digest(token.encode(errors="replace"), found)

    def start_session(self, response: Response, request: Request) -> None:
        """Set the cookie of a login."""
        content = f"{int(self._clock() + self._session_ttl)}.{secrets.token_urlsafe(16)}"
        self._set(response, request, SESSION_COOKIE, f"{content}.{self._sign(content)}", int(self._session_ttl))

    def end_session(self, response: Response, request: Request) -> None:
        """Delete the cookie of a login."""
        response.delete_cookie(SESSION_COOKIE, cookie_path(request))

    def csrf_token(self, request: Request) -> str:
        """Return the token that forms send beside its cookie, a new one without a cookie."""
        found = request.cookies.get(CSRF_COOKIE, "")
        return found if len(found) == 32 and found.isalnum() else secrets.token_hex(16)

    def set_csrf_cookie(self, response: Response, request: Request, token: str) -> None:
        """Set the cookie with *token*, unless *request* has it."""
        if request.cookies.get(CSRF_COOKIE) != token:
            self._set(response, request, CSRF_COOKIE, token, None)

    def _set(self, response: Response, request: Request, name: str, value: str, max_age: int | None) -> None:
        secure = request.url.scheme == "https"
        path = cookie_path(request)
        response.set_cookie(name, value, max_age, path=path, secure=secure, httponly=True, samesite="strict")

    def _sign(self, content: str) -> str:
        return hmac.digest(self._key, content.encode(), sha256).hex()

    def _is_valid(self, cookie: str) -> bool:
        content, _, signature = cookie.rpartition(".")
        if not hmac.compare_digest(self._sign(content).encode(), signature.encode(errors="replace")):
            return False
        return int(content.partition(".")[0]) > self._clock()


def _derive_key(token: str) -> bytes:
    """Return the key of cookies, from which the token cannot be computed; a new token ends all sessions."""
    return hmac.digest(token.encode(), b"scalekit console session", sha256)


def cookie_path(request: Request) -> str:
    """Return the path of the console's pages, to which cookies are sent."""
    return f"{request.scope.get('root_path', '')}/-/"


def is_from_other_site(request: Request) -> bool:
    """Return whether a browser says that a page of another site has sent *request*."""
    if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        return True
    origin = request.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != request.headers.get("host")


def is_forged(request: Request, sent_token: str | None) -> bool:
    """Return whether a page of another site may have sent *request* (CSRF).

    *sent_token* is that of a form, or None for JSON, which pages of other sites cannot send without the permission
    that a preflight asks for.
    """
    if is_from_other_site(request):
        return True
    if sent_token is None:
        return False
    cookie = request.cookies.get(CSRF_COOKIE, "")
    same = hmac.compare_digest(sent_token.encode(errors="replace"), cookie.encode(errors="replace"))
    return request.headers.get("origin") is None or not cookie or not same
