"""Respond from the cache instead of the application where that is possible."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from starlette.types import ASGIApp

from scalekit import Decision, Exchange, Filter
from scalekit_cache.bypass import BypassSender
from scalekit_cache.credentials import PLAIN, HeaderRoles
from scalekit_cache.http_cache import HttpCache
from scalekit_cache.invalidation import InvalidationSender
from scalekit_cache.keys import SCHEMES
from scalekit_cache.lookup import Lookup
from scalekit_cache.request import NOTED, CacheRequest

SAFE = frozenset({"OPTIONS", "TRACE", "PROPFIND", "REPORT", "SEARCH", "QUERY"})
"""Methods that change nothing and are not kept."""
HOST, AUTHORIZATION, CREDENTIAL_COOKIE = b"host", b"authorization", b"cookie"


class RelevantHeaders:
    """The names of request headers that mean something to a cache."""

    def __init__(self, meanings: HeaderRoles) -> None:
        self._meanings = meanings

    def __contains__(self, name: object) -> bool:
        return isinstance(name, bytes) and self._meanings[name] is not None


class CacheFilter(Filter):
    """Look up stored responses, and store those of the application; ``cache`` is there while it is open.

    *credential_headers* are patterns of request headers that identify the user.
    """

    runs_while_pending = True
    cache: HttpCache | None = None

    def __init__(self, credential_headers: Sequence[str]) -> None:
        self.request_headers = RelevantHeaders(HeaderRoles(NOTED, credential_headers))

    def on_request(self, exchange: Exchange) -> Decision:
        """Respond with what is stored, or let the application be asked."""
        cache = self.cache
        if cache is None:
            return None
        method = exchange.scope["method"]
        if method != "GET" and method != "HEAD":
            return None if method in SAFE else partial(_invalidate, cache, exchange)
        lookup = _plain_lookup(cache, exchange) if method == "GET" else None
        return _special_request(cache, exchange) if lookup is None else lookup.start()

    def suspend(self, cache: HttpCache, suspended: bool) -> None:
        """Respond with nothing that is stored while *suspended*; with what *cache* has afterwards."""
        self.cache = None if suspended else cache


def _plain_lookup(cache: HttpCache, exchange: Exchange) -> Lookup | None:
    """Return the look-up for a request that asks for no more than a resource; None for one that may ask for more.

    Its host, path and query, as they are, are its key.
    """
    scope, headers = exchange.scope, exchange.headers
    raw_path, query = scope.get("raw_path"), scope["query_string"]
    if not raw_path or scope.get("root_path") or (query and (b"&" in query or not cache.plain_queries)):
        return None
    if cache.asks_more[tuple(headers)]:
        return None
    host = headers.get(HOST)
    if not host or (exchange.repeated and not PLAIN.isdisjoint(exchange.repeated)):
        return None
    authorization, cookie = headers.get(AUTHORIZATION), headers.get(CREDENTIAL_COOKIE)
    requester = cache.requesters.of(authorization, cookie, scope.get("user"), scope.get("auth"))
    return Lookup(cache, exchange, requester, (host, raw_path, query, SCHEMES[scope["scheme"]]))


def _special_request(cache: HttpCache, exchange: Exchange) -> Decision:
    """Decide on a HEAD, or a GET with conditions, directives, a range or another query than most."""
    scope = exchange.scope
    asked = CacheRequest(scope["headers"])
    asked.read(scope["method"], cache.meanings)
    if asked.bypass:
        return partial(_bypass, cache, exchange, asked.bypass)
    noted = asked.noted
    authorization, cookie = noted.get(AUTHORIZATION), noted.get(CREDENTIAL_COOKIE)
    requester = cache.requesters.of(authorization, cookie, scope.get("user"), scope.get("auth"))
    asked.identify(requester)
    return Lookup(cache, exchange, requester, None, asked).start()


async def _bypass(cache: HttpCache, exchange: Exchange, reason: bytes, app: ASGIApp) -> None:
    """Let the application respond, and say in ``Cache-Status`` why."""
    cache.metrics.passed.inc()
    said = b"%b; fwd=bypass; detail=%b" % (cache.name, reason)
    await app(exchange.scope, exchange.receive, BypassSender(said, exchange.send).send)


async def _invalidate(cache: HttpCache, exchange: Exchange, app: ASGIApp) -> None:
    """Let the application respond to a request that changes something, and forget what that makes wrong."""
    await app(exchange.scope, exchange.receive, InvalidationSender(cache, exchange.scope, exchange.send).send)
