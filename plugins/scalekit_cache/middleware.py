"""Stand before the application, and answer instead of it where that is possible."""

from __future__ import annotations

from collections.abc import Awaitable

from starlette.types import ASGIApp, Receive, Scope, Send

from scalekit.admission import PENDING, admitted
from scalekit.caching.items import Key
from scalekit.contracts import is_authenticated
from scalekit_cache.asked import Asked
from scalekit_cache.bypass import Bypass
from scalekit_cache.core import HttpCache
from scalekit_cache.entry import COOKIE, Entry, Variants
from scalekit_cache.invalidating import Invalidation
from scalekit_cache.keys import SCHEMES
from scalekit_cache.locating import locate
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
        plain = _asked_plainly(cache, scope) if method == "GET" else None
        if plain is not None:
            return self._plain(cache, *plain, scope, receive, send)
        serving = self._serving(cache, scope, receive, send)
        if isinstance(serving, bytes):
            cache.metrics.passed.inc()
            said = b"%b; fwd=bypass; detail=%b" % (cache.name, serving)
            return self._pass(scope, receive, Bypass(said, send).send)
        return _look_meanwhile(serving) if PENDING in scope else serving.serve()

    def _pass(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Leave the request to the application, once it is admitted."""
        return self._once_admitted(scope, receive, send) if PENDING in scope else self.app(scope, receive, send)

    async def _once_admitted(self, scope: Scope, receive: Receive, send: Send) -> None:
        await admitted(scope)
        await self.app(scope, receive, send)

    def _plain(
        self, cache: HttpCache, key: Key, asked: Asked, scope: Scope, receive: Receive, send: Send
    ) -> Awaitable[None]:
        """Serve who asks for no more than a resource: its host, path and query, as they are, are its *key*."""
        if PENDING in scope:
            return self._plain_shared(cache, key, asked, scope, receive, send)
        found = cache.peek(key, asked)
        if type(found) is Entry:
            now = cache.clock()
            if now < found.plain_until and not asked.credentials & ~found.ruling.covers:
                return _hit(cache, found, now, scope, send)
        elif cache.store.shared:
            return self._plain_shared(cache, key, asked, scope, receive, send)
        return self._serving_plain(cache, key, asked, scope, receive, send).serve_found(found)

    async def _plain_shared(
        self, cache: HttpCache, key: Key, asked: Asked, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Do the same where one has to wait: for a store that processes share, or for a verdict on the request."""
        found = await cache.store.fetch(key)
        if type(found) is Variants:
            found = await cache.variant(found, asked) or found
        if PENDING in scope:
            await admitted(scope)
        if type(found) is Entry:
            now = cache.clock()
            if now < found.plain_until and not asked.credentials & ~found.ruling.covers:
                await _hit(cache, found, now, scope, send)
                return
        serving = self._serving_plain(cache, key, asked, scope, receive, send)
        await serving.serve_found(found if isinstance(found, Entry | Variants) else None)

    def _serving_plain(
        self, cache: HttpCache, key: Key, asked: Asked, scope: Scope, receive: Receive, send: Send
    ) -> Serving:
        path = scope["path"]
        return Serving(cache, self.app, scope, receive, send, asked, cache.policies.of(path, key[1]), key, path)

    def _serving(self, cache: HttpCache, scope: Scope, receive: Receive, send: Send) -> Serving | bytes:
        """Return what serves *scope*, a GET or HEAD, or why that is not for the cache."""
        asked = Asked(scope["headers"])
        asked.read(scope["method"], cache.meanings)
        if asked.bypass:
            return asked.bypass
        _introduce(asked, cache, scope)
        place = locate(cache, scope, asked.noted)
        return Serving(cache, self.app, scope, receive, send, asked, place.policy, place.key, place.path)


async def _look_meanwhile(serving: Serving) -> None:
    """Look while the verdict on the request is on its way; do the rest once it is there."""
    found = await serving.look()
    await admitted(serving.scope)
    await serving.serve_found(found)


def _asked_plainly(cache: HttpCache, scope: Scope) -> tuple[Key, Asked] | None:
    """Return the key of a request for no more than a resource, and who asks; None of one that may ask for more."""
    raw_path, query = scope.get("raw_path"), scope["query_string"]
    if not raw_path or scope.get("root_path") or (query and (b"&" in query or not cache.plain_queries)):
        return None
    host = None
    meanings = cache.meanings
    authorization = cookie = None
    for name, value in scope["headers"]:
        if meanings[name] is not None:
            if name == b"host" and host is None:
                host = value
            elif name == b"authorization" and authorization is None:
                authorization = value
            elif name == b"cookie" and cookie is None:
                cookie = value
            else:
                return None
    if not host:
        return None
    asked = Asked(scope["headers"])
    if authorization is not None or cookie is not None:
        asked.show(authorization, cookie)
    _introduce(asked, cache, scope)
    return (host, raw_path, query, SCHEMES[scope["scheme"]]), asked


def _introduce(asked: Asked, cache: HttpCache, scope: Scope) -> None:
    """Let *asked* know who asks."""
    user = scope.get("user")
    if user is not None and is_authenticated(user):
        asked.introduce(user, getattr(scope.get("auth"), "scopes", ()))
    if not cache.options.cookies_are_private:
        asked.credentials &= ~COOKIE


async def _hit(cache: HttpCache, entry: Entry, now: float, scope: Scope, send: Send) -> None:
    cache.metrics.hit.inc()
    scope.update(entry.routed)
    await send({"type": "http.response.start", "status": entry.status, "headers": entry.head(now)})
    await send({"type": "http.response.body", "body": entry.body})
