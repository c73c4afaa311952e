"""The filter of the cache: look up a stored response for a GET or HEAD before the application is called."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from starlette.types import ASGIApp

from scalekit import Decision, Exchange, Filter, Pending
from scalekit_cache.cache_status import BypassSender
from scalekit_cache.credentials import PLAIN_HEADERS, HeaderRoles, RequestCredentials
from scalekit_cache.http_cache import HttpCache
from scalekit_cache.invalidation import InvalidationSender
from scalekit_cache.keys import ACCEPT_ENCODING, MISSING, SCHEMES, Resource, resource_of
from scalekit_cache.request import BY_CODING, BY_IDENTITY, RELEVANT_HEADERS, CacheRequest
from scalekit_cache.request_handler import RequestHandler
from scalekit_cache.stored_response import StoredResponse, Variants
from scalekit_caching import Item, Key, PendingGet, RetryGet

SAFE_METHODS = frozenset({"OPTIONS", "TRACE", "PROPFIND", "REPORT", "SEARCH", "QUERY"})
"""Safe methods whose responses are not stored."""
HOST, AUTHORIZATION_HEADER, COOKIE_HEADER = b"host", b"authorization", b"cookie"


class RelevantHeaders:
    """The names of request headers that have one of *roles*, and Accept-Encoding, by which the coding is negotiated."""

    def __init__(self, roles: HeaderRoles) -> None:
        self._roles = roles

    def __contains__(self, name: object) -> bool:
        return isinstance(name, bytes) and (name == ACCEPT_ENCODING or self._roles[name] is not None)


class CacheFilter(Filter):
    """Looks up stored responses, and stores those of the application; ``cache`` is None while the store is closed.

    *credential_headers* are patterns of request headers that identify the user.
    """

    runs_while_pending = True
    cache: HttpCache | None = None

    def __init__(self, credential_headers: Sequence[str]) -> None:
        self.request_headers = RelevantHeaders(HeaderRoles(RELEVANT_HEADERS, credential_headers))

    def on_request(self, exchange: Exchange) -> Decision:
        """Respond with a stored response, or take over the call of the application."""
        cache = self.cache
        if cache is None:
            return None
        method = exchange.scope["method"]
        if method != "GET" and method != "HEAD":
            return None if method in SAFE_METHODS else partial(_invalidate, cache, exchange)
        lookup = _plain_lookup(cache, exchange) if method == "GET" else None
        return _special_request(cache, exchange) if lookup is None else lookup.start()

    def suspend(self, cache: HttpCache, suspended: bool) -> None:
        """Bypass *cache* while *suspended*; use it afterwards."""
        self.cache = None if suspended else cache


class Lookup:
    """Looks up the stored response for one GET or HEAD, and decides how to respond.

    A plain request, which has neither conditions nor directives, is looked up by its *key* and gets a fresh response
    as it is stored. Other requests have a *request*; a RequestHandler handles those, and plain ones without a fresh
    response.
    """

    __slots__ = ("_cache", "_credentials", "_exchange", "_key", "_request", "_resource", "_variants")

    def __init__(
        self,
        cache: HttpCache,
        exchange: Exchange,
        credentials: RequestCredentials,
        key: Key | None,
        request: CacheRequest | None = None,
    ) -> None:
        self._cache = cache
        self._exchange = exchange
        self._credentials = credentials
        self._request = request
        self._variants: Variants | None = None
        self._resource: Resource | None = None
        self._key: Key = key or ()
        if request is not None:
            fields = request.relevant_headers
            self._resource = resource_of(cache.policies, cache.options.sort_query, exchange.scope, fields)
            self._key = self._resource.key

    def start(self) -> Decision:
        """Decide by the local item, or start a lookup in the shared store."""
        store = self._cache.store
        found = store.peek(self._key)
        if type(found) is Variants:
            return self._get_variant(found)
        return self._start_get(self._key) if found is None and store.shared else self._decide(found)

    def _variant_key(self, names: tuple[bytes, ...]) -> tuple[bytes, ...]:
        if self._request is None:
            if names == BY_IDENTITY:  # the usual case of responses that vary by user
                return (self._credentials.identity,)
            if names == BY_CODING:  # those that the plugin compression compresses
                coding = self._cache.negotiate(self._exchange)
                if coding is not None:
                    return (coding or MISSING,)
        return self._cache_request().variant_key(names)

    def _cache_request(self) -> CacheRequest:
        if self._request is None:
            _set_coding(self._cache, self._exchange)
            self._request = CacheRequest(self._exchange.scope["headers"], self._credentials)
        return self._request

    def _start_get(self, key: Key) -> Decision:
        get = self._cache.store.start_get(key)
        return self._fetch_and_handle if get is None else Pending(get.reply, partial(self._finish, get))

    def _finish(self, get: PendingGet) -> Decision:
        try:
            found = get.finish()
        except RetryGet:
            return self._fetch_and_handle
        if type(found) is Variants and self._variants is None:
            return self._get_variant(found)
        return self._decide(found or self._variants)

    def _get_variant(self, variants: Variants) -> Decision:
        self._variants = variants
        store = self._cache.store
        key = (variants.token, *self._variant_key(variants.names))
        found = store.peek(key)
        return self._start_get(key) if found is None and store.shared else self._decide(found or variants)

    def _decide(self, found: Item | None) -> Decision:
        if (
            type(found) is StoredResponse
            and self._resource is None
            and not self._credentials.flags & ~found.storage_policy.allowed_credentials
        ):
            cache, exchange = self._cache, self._exchange
            now = cache.clock()
            if now < found.fast_path_until:
                if exchange.pending:  # a request that an outer filter refuses must not count as a hit
                    return Pending(exchange.pending[-1][1].reply, partial(self._decide, found))
                cache.metrics.hit.value += 1
                if cache.metrics.routes is not None:
                    cache.metrics.routes.add_hit(found)
                if found.route_scope:
                    exchange.scope.update(found.route_scope)
                return found.response_at(now)
        return partial(self._handle, found if isinstance(found, StoredResponse | Variants) else None)

    async def _fetch_and_handle(self, app: ASGIApp) -> None:
        await self._handle(await self._cache.fetch(self._key, self._cache_request()), app)

    async def _handle(self, found: StoredResponse | Variants | None, app: ASGIApp) -> None:
        exchange, resource = self._exchange, self._resource
        if resource is None:
            path: str = exchange.scope["path"]
            policy = self._cache.policies.for_path(path, self._key[1])
        else:
            path, policy = resource.path, resource.policy
        handler = RequestHandler(
            self._cache,
            self._cache_request(),
            policy,
            self._key,
            path,
            app=app,
            scope=exchange.scope,
            receive=exchange.receive,
            send=exchange.send,
        )
        await handler.handle_found(found)


def _set_coding(cache: HttpCache, exchange: Exchange) -> None:
    """Replace Accept-Encoding by the coding that is chosen, which is all that the response may depend on."""
    coding = cache.negotiate(exchange)
    if coding is not None:
        exchange.replace_header(ACCEPT_ENCODING, coding)


def _plain_lookup(cache: HttpCache, exchange: Exchange) -> Lookup | None:
    """Return the lookup of a plain request, whose host, path and query are its key; None for any other request."""
    scope, headers = exchange.scope, exchange.headers
    raw_path, query = scope.get("raw_path"), scope["query_string"]
    if not raw_path or scope.get("root_path") or (query and (b"&" in query or not cache.plain_queries)):
        return None
    roles = cache.header_roles
    for name in headers:
        if roles[name] is not None and name not in PLAIN_HEADERS:
            return None
    host = headers.get(HOST)
    if not host or (exchange.repeated and not PLAIN_HEADERS.isdisjoint(exchange.repeated)):
        return None
    authorization, cookie = headers.get(AUTHORIZATION_HEADER), headers.get(COOKIE_HEADER)
    credentials = cache.credentials.get(authorization, cookie, scope.get("user"), scope.get("auth"))
    return Lookup(cache, exchange, credentials, (host, raw_path, query, SCHEMES[scope["scheme"]]))


def _special_request(cache: HttpCache, exchange: Exchange) -> Decision:
    """Decide on a HEAD, or a GET with conditions, directives, a range or a query that must be made canonical."""
    scope = exchange.scope
    _set_coding(cache, exchange)
    request = CacheRequest(scope["headers"])
    request.parse(scope["method"], cache.header_roles)
    reason = request.bypass_reason
    if reason:
        return partial(_bypass, cache, exchange, reason)
    headers = request.relevant_headers
    authorization, cookie = headers.get(AUTHORIZATION_HEADER), headers.get(COOKIE_HEADER)
    credentials = cache.credentials.get(authorization, cookie, scope.get("user"), scope.get("auth"))
    request.set_credentials(credentials)
    return Lookup(cache, exchange, credentials, None, request).start()


async def _bypass(cache: HttpCache, exchange: Exchange, reason: bytes, app: ASGIApp) -> None:
    """Call the application, with *reason* in ``Cache-Status``."""
    status = b"%b; fwd=bypass; detail=%b" % (cache.name, reason)
    try:
        await app(exchange.scope, exchange.receive, BypassSender(status, exchange.send).send)
    finally:
        cache.metrics.count("bypass", exchange.scope)


async def _invalidate(cache: HttpCache, exchange: Exchange, app: ASGIApp) -> None:
    """Call the application for an unsafe request, and invalidate stored responses when it succeeds."""
    await app(exchange.scope, exchange.receive, InvalidationSender(cache, exchange.scope, exchange.send).send)
