"""A stored response, and the variants of a resource."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from types import MappingProxyType
from typing import Any

from starlette.types import Scope

from scalekit import LocalResponse
from scalekit_cache.cache_status import Headers, append_cache_status
from scalekit_caching import Item, Key, path_tags

OVERHEAD = 700
"""Estimated bytes of memory of a stored response beside headers and body."""
FIELD_OVERHEAD = 130
"""Estimated bytes of memory of one header beside its value."""
REVALIDATION_WINDOW = 3600.0
"""Seconds for which a stale response with a validator is retained for revalidation."""
NEVER = float("inf")

ROUTE = "scalekit_cache.route"
"""The key of the scope with the template of the route."""
NO_ROUTE: Mapping[str, Any] = MappingProxyType({})
"""The scope keys that a router sets, when there is no router."""


class Variants(Item):
    """Stored under the primary key of a resource that varies by *names*; each variant is under ``(token, *values)``."""

    __slots__ = ("names", "token")

    def __init__(self, key: Key, names: tuple[bytes, ...], token: bytes) -> None:
        super().__init__(key, sum(map(len, key)) + sum(map(len, names)))
        self.names = names
        self.token = token


class StoragePolicy:
    """How a class of responses is stored and reused; times are in seconds.

    *explicit_lifetime* comes from ``s-maxage`` or ``max-age``, *default_ttl* from a cache policy. *uses_expires* is
    whether ``Expires`` counts. A request may reuse the response if its credentials are in *allowed_credentials*. With
    *no_cache* each reuse needs revalidation, with *must_revalidate* each stale reuse. *has_extensions* is whether a
    directive makes it storable without a lifetime. *vary* are the names of the secondary key; *excluded_fields* are
    headers that are not stored.
    """

    __slots__ = (
        "allowed_credentials",
        "default_ttl",
        "excluded_fields",
        "explicit_lifetime",
        "has_extensions",
        "heuristic_fraction",
        "immutable",
        "must_revalidate",
        "no_cache",
        "stale_if_error",
        "stale_while_revalidate",
        "uses_expires",
        "vary",
    )

    def __init__(
        self,
        *,
        explicit_lifetime: float | None,
        default_ttl: float | None,
        uses_expires: bool,
        heuristic_fraction: float,
        allowed_credentials: int,
        stale_while_revalidate: float,
        stale_if_error: float,
        no_cache: bool,
        must_revalidate: bool,
        immutable: bool,
        has_extensions: bool,
        vary: tuple[bytes, ...],
        excluded_fields: frozenset[bytes],
    ) -> None:
        self.explicit_lifetime = explicit_lifetime
        self.default_ttl = default_ttl
        self.uses_expires = uses_expires
        self.heuristic_fraction = heuristic_fraction
        self.allowed_credentials = allowed_credentials
        self.stale_while_revalidate = stale_while_revalidate
        self.stale_if_error = stale_if_error
        self.no_cache = no_cache
        self.must_revalidate = must_revalidate
        self.immutable = immutable
        self.has_extensions = has_extensions
        self.vary = vary
        self.excluded_fields = excluded_fields


class StoredResponse(Item):
    """A response: its *status*, its *headers* without ``Age``, its complete *body*, and how it is stored.

    A plain request may reuse it until ``fast_path_until``. From *refresh_at* on it is refreshed early. *route_scope*
    has the scope keys that the router of the application has set.
    """

    __slots__ = (
        "_response",
        "_second",
        "body",
        "cache_name",
        "detail",
        "etag",
        "expires",
        "fast_path_until",
        "generated_at",
        "headers",
        "last_modified",
        "path",
        "refresh_at",
        "route_scope",
        "status",
        "storage_policy",
    )

    def __init__(
        self,
        key: Key,
        status: int,
        headers: Headers,
        body: bytes,
        storage_policy: StoragePolicy,
        *,
        generated_at: float,
        lifetime: float,
        etag: bytes | None,
        last_modified: bytes | None,
        cache_name: bytes,
        path: str,
        refresh_at: float = NEVER,
        tags: tuple[bytes, ...] = (),
        since: int = 0,
        route_scope: Mapping[str, Any] = NO_ROUTE,
    ) -> None:
        size = OVERHEAD + FIELD_OVERHEAD * len(headers) + len(body)
        for _, value in headers:
            size += len(value)
        # The body of Item.__init__, inlined: the call costs as much as all of it.
        self.key = key
        self.size = size
        self.tags = tags
        self.version_at_start = self.checked_version = since
        self.visited = False
        self.confirmed_at = 0.0
        self.newer = self.older = None
        self.status = status
        self.headers = headers
        self.body = body
        self.storage_policy = storage_policy
        self.generated_at = generated_at
        self.refresh_at = refresh_at
        self.etag = etag
        self.last_modified = last_modified
        self.cache_name = cache_name
        self.path = path
        self.expires = generated_at + lifetime
        self.fast_path_until = 0.0 if storage_policy.no_cache else min(self.expires, refresh_at)
        self.route_scope = route_scope
        self.detail = b""
        self._second = -1
        self._response: LocalResponse | None = None

    def all_tags(self) -> tuple[bytes, ...]:
        """Return its tags and those of its path."""
        return (*self.tags, *path_tags(self.path))

    def retain_until(self) -> float:
        """Return until when it may be reused or revalidated, in seconds since the epoch."""
        window = max(self.storage_policy.stale_while_revalidate, self.storage_policy.stale_if_error)
        has_validator = self.etag or self.last_modified
        return self.expires + (max(window, REVALIDATION_WINDOW) if has_validator else window)

    def as_fallback(self) -> StoredResponse:
        """Return a copy whose ``Cache-Status`` has ``detail=disconnected``: the shared store is unavailable."""
        fallback = copy(self)
        fallback.detail, fallback._response = b"; detail=disconnected", None
        fallback.newer = fallback.older = None
        return fallback

    def response_at(self, now: float) -> LocalResponse:
        """Return the response to a hit at *now*, which is built once a second."""
        age = int(now - self.generated_at)
        response = self._response
        if response is None or age != self._second:
            status = b"%b; hit; ttl=%d%b" % (self.cache_name, int(self.expires - now), self.detail)
            response = self._response = LocalResponse(self.status, self.headers_with_age(now, status), self.body)
            self._second = age
        return response

    def headers_at(self, now: float) -> Headers:
        """Return a copy of the headers of the response to a hit at *now*."""
        return self.response_at(now).headers.copy()

    def headers_with_age(self, now: float, status: bytes) -> Headers:
        """Return the headers with ``Age`` at *now*, and with *status* in ``Cache-Status``."""
        headers = [*self.headers, (b"age", b"%d" % max(0, int(now - self.generated_at)))]
        for name, _ in self.headers:
            if name == b"cache-status":
                return append_cache_status(headers, status)
        headers.append((b"cache-status", status))
        return headers


def route_scope(scope: Scope, route: str = "") -> Mapping[str, Any]:
    """Return the keys that the router has set in *scope*, from which metrics derive the route, and its template."""
    endpoint, template = scope.get("endpoint"), scope.get("path_template")
    if endpoint is None and template is None:
        return NO_ROUTE
    found = {"endpoint": endpoint, "router": scope.get("router"), ROUTE: route}
    if template is not None:
        found["path_template"] = template
    if "app_root_path" in scope:
        found["app_root_path"] = scope["app_root_path"]
    return found


def route_scope_of(route: str) -> Mapping[str, Any]:
    """Return the keys for a response that another process has made: only the template of its *route* is known."""
    return {"path_template": route, ROUTE: route} if route else NO_ROUTE
