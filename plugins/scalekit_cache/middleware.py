"""Stand before the application, and answer instead of it where that is possible."""

from __future__ import annotations

from collections.abc import Awaitable

from starlette.types import ASGIApp, Receive, Scope, Send

from scalekit.admission import PENDING, admitted
from scalekit.caching.items import Item, Key
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
        if cache is None or scope["type"] != "http":
            return self._pass(scope, receive, send)
        method = scope["method"]
        if method != "GET" and method != "HEAD":
            if method not in SAFE:
                send = Invalidation(cache, scope, send).send
            return self._pass(scope, receive, send)
        key = _key_of_plain(cache, scope) if method == "GET" else None
        if key is not None:
            return self._plain(cache, key, scope, receive, send)
        serving = self._serving(cache, scope, receive, send)
        if serving is None:
            cache.metrics.passed.inc()
            return self._pass(scope, receive, send)
        return _look_meanwhile(serving) if PENDING in scope else serving.serve()

    def _pass(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Leave the request to the application, once it is admitted."""
        return self._once_admitted(scope, receive, send) if PENDING in scope else self.app(scope, receive, send)

    async def _once_admitted(self, scope: Scope, receive: Receive, send: Send) -> None:
        await admitted(scope)
        await self.app(scope, receive, send)

    def _plain(self, cache: HttpCache, key: Key, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve who asks for no more than a resource: its host, path and query, as they are, are its *key*."""
        store = cache.store
        if PENDING in scope:
            return self._plain_shared(cache, key, scope, receive, send)
        found = store.peek(key)
        if type(found) is Variants and found.by_headers:
            found = _variant(cache, found, scope["headers"]) or found
        if type(found) is Entry:
            now = cache.clock()
            if now < found.plain_until:
                return _hit(cache, found, now, scope, send)
        elif store.shared:
            return self._plain_shared(cache, key, scope, receive, send)
        serving = self._serving_plain(cache, key, scope, receive, send)
        return serving.make(b"fwd=uri-miss") if found is None else serving.serve()

    async def _plain_shared(self, cache: HttpCache, key: Key, scope: Scope, receive: Receive, send: Send) -> None:
        """Do the same where one has to wait: for a store that processes share, or for a verdict on the request."""
        found = await cache.store.fetch(key)
        if PENDING in scope:
            await admitted(scope)
        if type(found) is Entry:
            now = cache.clock()
            if now < found.plain_until:
                await _hit(cache, found, now, scope, send)
                return
        serving = self._serving_plain(cache, key, scope, receive, send)
        if type(found) is Variants:
            found = await cache.variant(found, serving.asked) or found
        await serving.serve_found(found if isinstance(found, Entry | Variants) else None)

    def _serving_plain(self, cache: HttpCache, key: Key, scope: Scope, receive: Receive, send: Send) -> Serving:
        asked, path = Asked(scope["headers"]), scope["path"]
        return Serving(cache, self.app, scope, receive, send, asked, cache.policies.of(path, key[1]), key, path)

    def _serving(self, cache: HttpCache, scope: Scope, receive: Receive, send: Send) -> Serving | None:
        """Return what serves *scope*, a GET or HEAD; None where the cache has nothing to say."""
        asked = Asked(scope["headers"])
        asked.read(scope["method"], scope.get("user"), getattr(scope.get("auth"), "scopes", ()))
        if asked.passes:
            return None
        if not cache.options.cookies_are_private:
            asked.credentials &= ~COOKIE
        place = locate(cache, scope, asked.noted)
        return Serving(cache, self.app, scope, receive, send, asked, place.policy, place.key, place.path)


async def _look_meanwhile(serving: Serving) -> None:
    """Look while the verdict on the request is on its way; do the rest once it is there."""
    found = await serving.look()
    await admitted(serving.scope)
    await serving.serve_found(found)


def _key_of_plain(cache: HttpCache, scope: Scope) -> Key | None:
    """Return the key of a request that asks for no more than a resource, where its parts need no second look."""
    raw_path, query = scope.get("raw_path"), scope["query_string"]
    if not raw_path or scope.get("root_path") or (query and (b"&" in query or not cache.plain_queries)):
        return None
    host = _host_of_plain(scope)
    return None if host is None else (host, raw_path, query, SCHEMES[scope["scheme"]])


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
