"""Stand before the application, and answer instead of it where that is possible."""

from __future__ import annotations

from collections.abc import Awaitable

from starlette.types import ASGIApp, Receive, Scope, Send

from scalekit.admission import PENDING, admitted
from scalekit.caching.items import Item
from scalekit_cache.asked import NOTED, Asked
from scalekit_cache.core import HttpCache
from scalekit_cache.entry import COOKIE, Entry, Headers, Variants
from scalekit_cache.invalidating import Invalidation
from scalekit_cache.keys import SCHEMES
from scalekit_cache.locating import locate
from scalekit_cache.serving import Serving
from scalekit_cache.storing import fields_of
from scalekit_cache.vary import selecting

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

    awaits_admission = True

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Give what is there to who asks for nothing special; look closely at everybody else."""
        cache = self.slot.cache
        if PENDING in scope:
            return self._once_admitted(scope, receive, send)
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
            raw_path, query = scope.get("raw_path"), scope["query_string"]
            if raw_path and not scope.get("root_path") and (not query or (b"&" not in query and cache.plain_queries)):
                key = (host, raw_path, query, SCHEMES[scope["scheme"]])
                found = cache.store.peek(key)
                if type(found) is Variants and found.by_headers:
                    found = _variant(cache, found, scope["headers"]) or found
                if type(found) is Entry:
                    now = cache.clock()
                    if now < found.plain_until:
                        return _hit(cache, found, now, scope, send)
                path = scope["path"]
                policy = cache.policies.of(path, raw_path)
                serving = Serving(cache, self.app, scope, receive, send, asked, policy, key, path)
                return serving.make(b"fwd=uri-miss") if found is None and not cache.store.shared else serving.serve()
            asked.noted = {b"host": host}
        place = locate(cache, scope, asked.noted)
        return Serving(cache, self.app, scope, receive, send, asked, place.policy, place.key, place.path).serve()

    async def _once_admitted(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Look in a shared store while the verdict on the request is on its way; do the rest once it is there."""
        cache = self.slot.cache
        serving = self._serving(cache, scope, receive, send) if cache is not None and cache.store.shared else None
        if serving is None:
            await admitted(scope)
            await self(scope, receive, send)
            return
        found = await serving.look()
        await admitted(scope)
        await serving.serve_found(found)

    def _serving(self, cache: HttpCache, scope: Scope, receive: Receive, send: Send) -> Serving | None:
        """Return what serves *scope*; None where the cache has nothing to say."""
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            return None
        asked = Asked(scope["headers"])
        asked.read(scope["method"], scope.get("user"), getattr(scope.get("auth"), "scopes", ()))
        if asked.passes:
            return None
        if not cache.options.cookies_are_private:
            asked.credentials &= ~COOKIE
        place = locate(cache, scope, asked.noted)
        return Serving(cache, self.app, scope, receive, send, asked, place.policy, place.key, place.path)


def _host_of_plain(scope: Scope) -> bytes | None:
    """Return the host of a request that asks for no more than a resource; None of one that may ask for more."""
    user = scope.get("user")
    if user is not None and getattr(user, "is_authenticated", True):
        return None
    host = b""
    for name, value in scope["headers"]:
        if name in NOTED:
            if name != b"host" or host:
                return None
            host = value
    return host


def _variant(cache: HttpCache, variants: Variants, headers: Headers) -> Item | None:
    """Return the one of *variants* that *headers* select, if it is there."""
    names = variants.names
    fields = fields_of([field for field in headers if field[0] in names])
    return cache.store.peek((variants.token, *selecting(names, fields)))


async def _hit(cache: HttpCache, entry: Entry, now: float, scope: Scope, send: Send) -> None:
    cache.metrics.hit.inc()
    scope.update(entry.routed)
    await send({"type": "http.response.start", "status": entry.status, "headers": entry.head(now)})
    await send({"type": "http.response.body", "body": entry.body})
