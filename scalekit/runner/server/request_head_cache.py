"""Cache parsed request heads by their bytes, so that repeated requests are not parsed again.

Clients that poll or call an API send the same bytes repeatedly. A head can contain credentials, so the cache holds a
bounded number of short heads, and none that arrived only once.
"""

from __future__ import annotations

from starlette.types import Scope

MAX_HEADS = 1024
MAX_BYTES = 2048
"""Maximum size of a cached head, in bytes."""
END = b"\r\n\r\n"
UNCACHEABLE_FIELDS = frozenset({b"content-length", b"transfer-encoding", b"expect", b"upgrade", b"connection"})
"""Header fields of requests that have a body or control the connection."""


class RequestHeadCache:
    """The ASGI scopes of cached heads, for all connections of a server."""

    def __init__(self, max_heads: int = MAX_HEADS) -> None:
        self._max_heads = max_heads
        self._scopes: dict[bytes, Scope] = {}

    def __len__(self) -> int:
        return len(self._scopes)

    def get(self, data: bytes) -> Scope | None:
        """Return the scope of the request *data*, or None; the caller copies it for its connection."""
        return self._scopes.get(data) if len(data) <= MAX_BYTES else None  # hashing a part of a body is slow

    def store(self, data: bytes, scope: Scope) -> None:
        """Cache *scope* when *data*, its source, is exactly the head of an HTTP/1.1 request without a body."""
        if len(data) > MAX_BYTES or data.find(END) != len(data) - len(END) or scope["http_version"] != "1.1":
            return
        if any(name in UNCACHEABLE_FIELDS for name, _ in scope["headers"]):
            return
        if len(self._scopes) >= self._max_heads:
            if not self._scopes:
                return
            del self._scopes[next(iter(self._scopes))]
        self._scopes[data] = {**scope, "headers": [*scope["headers"]]}
