"""The ``Cache-Status`` field of a response, and why the response is not stored (RFC 9211)."""

from __future__ import annotations

from collections.abc import Awaitable
from enum import Enum

from starlette.types import Message, Send

from scalekit_cache.credentials import (
    APPLICATION_USER,
    AUTHORIZATION,
    COOKIE,
    CREDENTIAL_HEADER,
    DECLARED,
    UNNAMED_USER,
    USER,
)

Headers = list[tuple[bytes, bytes]]
STORED = b"; stored"


class NotStored(Enum):
    """Why a response is not stored; the value is the ``detail`` of ``Cache-Status`` (RFC 9211, section 2.8)."""

    AUTHORIZATION = b"; detail=authorization"
    COOKIE = b"; detail=cookie"
    USER = b"; detail=user"
    CREDENTIAL_HEADER = b"; detail=credential-header"
    DECLARED = b"; detail=credential-of-route"
    APPLICATION_USER = b"; detail=user-of-application"
    REQUEST_BODY = b"; detail=request-body"
    METHOD = b"; detail=method"
    NO_STORE = b"; detail=no-store"
    PRIVATE = b"; detail=private"
    MUST_UNDERSTAND = b"; detail=must-understand"
    SET_COOKIE = b"; detail=set-cookie"
    VARY = b"; detail=vary"
    STATUS = b"; detail=status"
    PARTIAL = b"; detail=partial"
    NO_LIFETIME = b"; detail=no-lifetime"
    STALE = b"; detail=stale"
    TOO_LARGE = b"; detail=too-large"
    TRAILERS = b"; detail=trailers"
    ERROR = b"; detail=error"
    PURGED = b"; detail=purged"
    UNKNOWN_TABLES = b"; detail=unknown-tables"


_CREDENTIAL_REASONS = (
    (AUTHORIZATION, NotStored.AUTHORIZATION),
    (USER | UNNAMED_USER, NotStored.USER),
    (COOKIE, NotStored.COOKIE),
    (CREDENTIAL_HEADER, NotStored.CREDENTIAL_HEADER),
    (DECLARED, NotStored.DECLARED),
    (APPLICATION_USER, NotStored.APPLICATION_USER),
)
REQUEST_REASONS = frozenset(
    {reason for _, reason in _CREDENTIAL_REASONS}
    | {NotStored.REQUEST_BODY, NotStored.METHOD, NotStored.PURGED, NotStored.ERROR}
)
"""Reasons that lie in the request: the stored response stays usable for other requests."""


def reason_for_credentials(credentials: int) -> NotStored:
    """Return the first reason for one of the flags in *credentials*, which must not be 0."""
    return next(reason for flags, reason in _CREDENTIAL_REASONS if credentials & flags)


def append_cache_status(headers: Headers, status: bytes) -> Headers:
    """Return *headers* with *status* as the last member of the list in ``Cache-Status``."""
    members = [value for name, value in headers if name.lower() == b"cache-status"]
    if not members:
        return [*headers, (b"cache-status", status)]
    others = [field for field in headers if field[0].lower() != b"cache-status"]
    return [*others, (b"cache-status", b", ".join([*members, status]))]


class BypassSender:
    """Wraps *send* for a request that bypasses the cache; *status* is the cache's member of ``Cache-Status``."""

    def __init__(self, status: bytes, send: Send) -> None:
        self._status = status
        self._send = send

    def send(self, message: Message) -> Awaitable[None]:
        """Forward *message*, with ``Cache-Status`` when it starts the response."""
        if message["type"] == "http.response.start":
            headers = append_cache_status(list(message.get("headers", ())), self._status)
            message = {**message, "headers": headers}
        return self._send(message)
