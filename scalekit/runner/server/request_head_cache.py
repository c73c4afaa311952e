"""Request heads that came before, by their bytes: they are not parsed again.

Clients that poll, and those that call an API, send the same bytes again and again. A head may hold credentials, so only
a bounded number of short ones is remembered, and none that came only once.
"""

from __future__ import annotations

from starlette.types import Scope

MAX_HEADS = 1024
MAX_BYTES = 2048
"""Bytes of a head that is remembered."""
END = b"\r\n\r\n"
NOT_ALONE = frozenset({b"content-length", b"transfer-encoding", b"expect", b"upgrade", b"connection"})
"""Headers of requests that are more than a head, or say something of their connection."""


class RequestHeadCache:
    """The scopes of the requests whose heads are known, for all connections of a server."""

    def __init__(self, max_heads: int = MAX_HEADS) -> None:
        self._max_heads = max_heads
        self._scopes: dict[bytes, Scope] = {}

    def __len__(self) -> int:
        return len(self._scopes)

    def find(self, data: bytes) -> Scope | None:
        """Return the scope of the request that *data* is; the caller copies it and puts in what is its own."""
        return self._scopes.get(data) if len(data) <= MAX_BYTES else None  # to hash a part of a body takes long

    def remember(self, data: bytes, scope: Scope) -> None:
        """Remember *scope* if *data*, from which it was read, is the head of an HTTP/1.1 request and nothing else."""
        if len(data) > MAX_BYTES or data.find(END) != len(data) - len(END) or scope["http_version"] != "1.1":
            return
        if any(name in NOT_ALONE for name, _ in scope["headers"]):
            return
        if len(self._scopes) >= self._max_heads:
            if not self._scopes:
                return
            del self._scopes[next(iter(self._scopes))]
        self._scopes[data] = {**scope, "headers": [*scope["headers"]]}
