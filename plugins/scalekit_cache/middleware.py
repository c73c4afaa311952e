"""Stand before the application, and answer instead of it where that is possible."""

from __future__ import annotations

from collections.abc import Awaitable

from starlette.types import ASGIApp, Receive, Scope, Send

from scalekit_cache.asked import NOTED, Asked
from scalekit_cache.core import HttpCache
from scalekit_cache.entry import COOKIE, Entry
from scalekit_cache.invalidating import Invalidation
from scalekit_cache.keys import SCHEMES
from scalekit_cache.serving import Serving

SAFE = frozenset({"OPTIONS", "TRACE", "PROPFIND", "REPORT", "SEARCH", "QUERY"})
"""Methods that change nothing and are not kept."""


class Slot:
    """Holds the cache while it is started."""

    __slots__ = ("cache",)

    def __init__(self) -> None:
        self.cache: HttpCache | None = None


class CacheMiddleware:
    """Answer from the cache in *slot*, which is empty until everything has started."""

    def __init__(self, app: ASGIApp, slot: Slot) -> None:
        self.app = app
        self.slot = slot

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Give what is there to who asks for nothing special; look closely at everybody else."""
        cache = self.slot.cache
        if cache is None or scope["type"] != "http":
            return self.app(scope, receive, send)
        method = scope["method"]
        if method != "GET" and method != "HEAD":
            if method not in SAFE:
                send = Invalidation(cache, scope, send).send
            return self.app(scope, receive, send)
        asked = Asked(scope["headers"])
        host = _host_of_plain(scope) if method == "GET" else None
        if host is None:
            auth = scope.get("auth")
            asked.read(method, scope.get("user"), getattr(auth, "scopes", ()))
            if asked.passes:
                cache.metrics.passed.inc()
                return self.app(scope, receive, send)
            if not cache.options.cookies_are_private:
                asked.credentials &= ~COOKIE
        else:
            path, query = scope.get("raw_path"), scope["query_string"]
            if path is not None and (not query or (b"&" not in query and cache.plain_queries)):
                entry = cache.store.peek((host, path, query, SCHEMES[scope["scheme"]]))
                if type(entry) is Entry:
                    now = cache.clock()
                    if now < entry.plain_until:
                        return _hit(cache, entry, now, scope, send)
            asked.noted = {b"host": host}
        return Serving(cache, self.app, scope, receive, send, asked).serve()


def _host_of_plain(scope: Scope) -> bytes | None:
    """Return the host of a request that asks for no more than a resource; None of one that may ask for more."""
    if "user" in scope:
        return None
    host = b""
    for name, value in scope["headers"]:
        if name in NOTED:
            if name != b"host" or host:
                return None
            host = value
    return host


async def _hit(cache: HttpCache, entry: Entry, now: float, scope: Scope, send: Send) -> None:
    cache.metrics.hit.inc()
    scope.update(entry.routed)
    await send({"type": "http.response.start", "status": entry.status, "headers": entry.head(now)})
    await send({"type": "http.response.body", "body": entry.body})
