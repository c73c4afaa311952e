"""The look-up of a stored response for one GET or HEAD."""

from __future__ import annotations

from functools import partial

from starlette.types import ASGIApp

from scalekit import Decision, Exchange, LocalResponse, Pending
from scalekit.caching.items import Key
from scalekit.caching.store import Fetch, FetchAgain
from scalekit_cache.asked import Asked
from scalekit_cache.core import HttpCache
from scalekit_cache.entry import Entry, Variants
from scalekit_cache.policies import Policy
from scalekit_cache.serving import Serving


class Lookup:
    """Finds what is stored under *key*, and decides what is done with it.

    A *plain* request asks for no more than the resource: a fresh response is given to it as it is stored. Everything
    else is served by a Serving, with the policy of *path* or the one that is known.
    """

    def __init__(
        self, cache: HttpCache, exchange: Exchange, asked: Asked, key: Key, path: str, policy: Policy | None = None
    ) -> None:
        self.cache = cache
        self.exchange = exchange
        self.asked = asked
        self.key = key
        self.path = path
        self.policy = policy
        self._variants: Variants | None = None

    def start(self) -> Decision:
        """Decide by what the process has, or ask the store that processes share."""
        found = self.cache.peek(self.key, self.asked)
        if type(found) is Entry or not self.cache.store.shared:
            return self._decide(found)
        return self._ask(self.key)

    def _ask(self, key: Key) -> Decision:
        fetch = self.cache.store.begin_fetch(key)
        return self._fetch_and_serve if fetch is None else Pending(fetch.reply, partial(self._finish, fetch))

    def _finish(self, fetch: Fetch) -> Decision:
        try:
            found = fetch.finish()
        except FetchAgain:
            return self._fetch_and_serve
        if type(found) is Variants and self._variants is None:
            self._variants = found
            return self._find_variant(found)
        return self._decide(found if isinstance(found, Entry | Variants) else self._variants)

    def _find_variant(self, variants: Variants) -> Decision:
        key = (variants.token, *self.asked.selecting(variants.names))
        found = self.cache.store.peek(key)
        return self._decide(found) if type(found) is Entry else self._ask(key)

    def _decide(self, found: Entry | Variants | None) -> Decision:
        if type(found) is Entry and self._may_be_given(found):
            pending = self.exchange.pending
            if pending:  # it counts as a hit once those further out have decided
                return Pending(pending[-1][1].reply, partial(self._give, found))
            return self._give(found)
        return partial(self._serve, found)

    def _may_be_given(self, entry: Entry) -> bool:
        if self.policy is not None or self.asked.credentials & ~entry.ruling.covers:
            return False
        return self.cache.clock() < entry.plain_until

    def _give(self, entry: Entry) -> LocalResponse:
        self.cache.metrics.hit.inc()
        self.exchange.scope.update(entry.routed)
        return LocalResponse(entry.status, entry.headers_at(self.cache.clock()), entry.body)

    async def _fetch_and_serve(self, app: ASGIApp) -> None:
        await self._serve(await self.cache.fetch(self.key, self.asked), app)

    async def _serve(self, found: Entry | Variants | None, app: ASGIApp) -> None:
        exchange = self.exchange
        policy = self.cache.policies.of(self.path, self.key[1]) if self.policy is None else self.policy
        receive, send = exchange.receive, exchange.send
        serving = Serving(self.cache, app, exchange.scope, receive, send, self.asked, policy, self.key, self.path)
        await serving.serve_found(found)
