"""Stand before the application, and answer instead of it where that is possible."""

from __future__ import annotations

from collections.abc import Awaitable

from starlette.types import ASGIApp, Receive, Scope, Send

from scalekit_cache.asked import NOTED, Asked
from scalekit_cache.core import HttpCache
from scalekit_cache.entry import COOKIE, Entry
from scalekit_cache.invalidating import Invalidation
from scalekit_cache.locating import locate
from scalekit_cache.serving import Serving

SAFE = frozenset({"OPTIONS", "TRACE", "PROPFIND", "REPORT", "SEARCH", "QUERY"})
"""Methods that change nothing and are not kept."""
SCHEMES = {"http": b"http", "https": b"https"}


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
        if method == "GET":
            if "user" not in scope:
                entry = _at_once(cache, scope)
                if entry is not None:
                    return _hit(cache, entry, scope, send)
        elif method != "HEAD":
            if method not in SAFE:
                send = Invalidation(cache, scope, send).send
            return self.app(scope, receive, send)
        return self._serve(cache, scope, receive, send)

    async def _serve(self, cache: HttpCache, scope: Scope, receive: Receive, send: Send) -> None:
        auth = scope.get("auth")
        asked = Asked(scope["method"], scope["headers"], scope.get("user"), getattr(auth, "scopes", ()))
        if asked.passes:
            cache.metrics.passed.inc()
            await self.app(scope, receive, send)
            return
        location = locate(scope, asked.noted)
        policy = location.policy(cache)
        if not cache.options.cookies_are_private:
            asked.credentials &= ~COOKIE
        serving = Serving(cache, self.app, scope, receive, send, asked, policy, location.key(cache), location.path)
        await serving.serve()


def _at_once(cache: HttpCache, scope: Scope) -> Entry | None:
    """Return what may be given to anybody who asks for no more than a resource, if that is what *scope* does."""
    host = b""
    for name, value in scope["headers"]:
        if name in NOTED:
            if name != b"host" or host:
                return None
            host = value
    path, query = scope.get("raw_path"), scope["query_string"]
    if path is None or (query and (b"&" in query or not cache.plain_queries)):
        return None
    entry = cache.store.peek((host, path, query, SCHEMES[scope["scheme"]]))
    return entry if type(entry) is Entry and cache.clock() < entry.plain_until else None


async def _hit(cache: HttpCache, entry: Entry, scope: Scope, send: Send) -> None:
    cache.metrics.hit.inc()
    scope.update(entry.routed)
    await send({"type": "http.response.start", "status": entry.status, "headers": entry.head(cache.clock())})
    await send({"type": "http.response.body", "body": entry.body})
