"""The look-up of a stored response for one GET or HEAD."""

from __future__ import annotations

from functools import partial

from starlette.types import ASGIApp

from scalekit import Decision, Exchange, Pending
from scalekit_cache.http_cache import HttpCache
from scalekit_cache.locating import resource_of
from scalekit_cache.request import BY_IDENTITY, CacheRequest
from scalekit_cache.request_handler import RequestHandler
from scalekit_cache.requester import RequestCredentials
from scalekit_cache.stored_response import StoredResponse, Variants
from scalekit_caching.items import Item, Key
from scalekit_caching.store import PendingGet, RetryGet


class Lookup:
    """Finds what is stored for a *requester*, and decides what is done with it.

    A plain request asks for no more than a resource, which is stored under its *key*: a fresh response is given to it
    as it is stored. One that may ask for more is what *asked* says; it is served by a
    RequestHandler, as is what is not found.
    """

    __slots__ = ("_asked", "_cache", "_exchange", "_key", "_place", "_requester", "_variants")

    def __init__(
        self,
        cache: HttpCache,
        exchange: Exchange,
        requester: RequestCredentials,
        key: Key | None,
        asked: CacheRequest | None = None,
    ) -> None:
        self._cache = cache
        self._exchange = exchange
        self._requester = requester
        self._asked = asked
        self._variants: Variants | None = None
        self._place = None if asked is None else resource_of(cache, exchange.scope, asked.noted)
        self._key: Key = self._place.key if self._place is not None else key or ()

    def start(self) -> Decision:
        """Decide by what the process has, or ask the store that processes share."""
        store, key = self._cache.store, self._key
        found = store.peek(key)
        if type(found) is Variants:
            self._variants = found
            key = (found.token, *self._selecting(found.names))
            found = store.peek(key)
        return self._ask(key) if found is None and store.shared else self._decide(found or self._variants)

    def _selecting(self, names: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """Return what a response that varies by *names* is selected by."""
        if names == BY_IDENTITY and self._asked is None:  # as most do that vary by who asks
            return (self._requester.identity,)
        return self._request().selecting(names)

    def _request(self) -> CacheRequest:
        if self._asked is None:
            self._asked = CacheRequest(self._exchange.scope["headers"], self._requester)
        return self._asked

    def _ask(self, key: Key) -> Decision:
        fetch = self._cache.store.start_get(key)
        return self._fetch_and_serve if fetch is None else Pending(fetch.reply, partial(self._finish, fetch))

    def _finish(self, fetch: PendingGet) -> Decision:
        try:
            found = fetch.finish()
        except RetryGet:
            return self._fetch_and_serve
        if type(found) is Variants and self._variants is None:
            return self._find_variant(found)
        return self._decide(found or self._variants)

    def _find_variant(self, variants: Variants) -> Decision:
        self._variants = variants
        store = self._cache.store
        key = (variants.token, *self._selecting(variants.names))
        found = store.peek(key)
        return self._ask(key) if found is None and store.shared else self._decide(found or variants)

    def _decide(self, found: Item | None) -> Decision:
        if (
            type(found) is StoredResponse
            and self._place is None
            and not self._requester.credentials & ~found.ruling.covers
        ):
            cache, exchange = self._cache, self._exchange
            now = cache.clock()
            if now < found.plain_until:
                if exchange.pending:  # a request that a filter further out refuses is no hit
                    return Pending(exchange.pending[-1][1].reply, partial(self._decide, found))
                cache.metrics.hit.value += 1
                if found.routed:
                    exchange.scope.update(found.routed)
                return found.response_at(now)
        return partial(self._serve, found if isinstance(found, StoredResponse | Variants) else None)

    async def _fetch_and_serve(self, app: ASGIApp) -> None:
        await self._serve(await self._cache.fetch(self._key, self._request()), app)

    async def _serve(self, found: StoredResponse | Variants | None, app: ASGIApp) -> None:
        exchange, place = self._exchange, self._place
        if place is None:
            path: str = exchange.scope["path"]
            policy = self._cache.policies.of(path, self._key[1])
        else:
            path, policy = place.path, place.policy
        scope, receive, send = exchange.scope, exchange.receive, exchange.send
        serving = RequestHandler(self._cache, app, scope, receive, send, self._request(), policy, self._key, path)
        await serving.serve_found(found)
