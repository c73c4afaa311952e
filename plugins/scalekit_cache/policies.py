"""Cache policies: of the configuration, by path, of ``@cached``, and of the declarations of a route."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from scalekit import PathGlob

DEFAULT_STATUSES = frozenset({200, 301, 308})
MAX_CACHED = 4096
"""Maximum number of paths and combinations whose policy is cached."""

_AMBIGUOUS_PATH = re.compile(rb"%(?:2e|2f|5c|00|3b|3f|23|25)|[\\;\x00-\x20]|//|/\.\.?(?:/|$)", re.IGNORECASE)


@dataclass(frozen=True)
class CachePolicy:
    """How to store responses that do not specify it themselves.

    Times are in seconds; with ``ttl=None`` only responses with their own freshness lifetime are stored. *query* are the
    parameters in the key, None for all. *ignores_cookies* excludes cookies from the credentials. *credential_headers*
    are request headers from which the route reads credentials.
    """

    ttl: float | None = None
    vary: tuple[bytes, ...] = ()
    query: frozenset[bytes] | None = None
    by_identity: bool = False
    ignores_cookies: bool = False
    stale_while_revalidate: float = 0.0
    stale_if_error: float = 0.0
    early_refresh: float = 0.0
    tags: tuple[bytes, ...] = ()
    statuses: frozenset[int] = DEFAULT_STATUSES
    credential_headers: tuple[bytes, ...] = ()

    def combined(self, policy: CachePolicy) -> CachePolicy:
        """Return this policy plus *policy*.

        Its ``vary`` and ``tags`` are added, its ``query`` replaces this one's if set, and ``by_identity`` and
        ``ignores_cookies`` are true if either is.
        """
        return replace(
            self,
            query=self.query if policy.query is None else policy.query,
            vary=(*self.vary, *policy.vary),
            tags=(*self.tags, *policy.tags),
            by_identity=self.by_identity or policy.by_identity,
            ignores_cookies=self.ignores_cookies or policy.ignores_cookies,
        )


NO_POLICY = CachePolicy()


@dataclass(frozen=True)
class RouteParameters:
    """The parameters of a route: *credential_headers*, other *headers*, and secrets in the *query*.

    *uses_request* is whether one of its dependencies gets the request itself, and may read any header.
    """

    credential_headers: tuple[bytes, ...]
    headers: tuple[bytes, ...]
    query: frozenset[bytes]
    uses_request: bool = False


class CachePolicies:
    """The policies of the configuration; the first whose path matches applies."""

    def __init__(self, items: Sequence[tuple[str, CachePolicy]]) -> None:
        self._items = [(PathGlob(path), policy) for path, policy in items]
        self._by_path: dict[tuple[str, bytes], CachePolicy] = {}
        self._for_handlers: dict[tuple[int, int], tuple[CachePolicy, CachePolicy, CachePolicy]] = {}
        self._with_query: dict[tuple[int, frozenset[bytes]], tuple[CachePolicy, CachePolicy]] = {}
        self._for_routes: dict[tuple[int, int], tuple[CachePolicy, RouteParameters, CachePolicy]] = {}
        self.reshape_queries = any(policy.query is not None for _, policy in items)

    def for_path(self, path: str, raw_path: bytes) -> CachePolicy:
        """Return the policy of *path*; NO_POLICY for a path that the application may interpret differently."""
        if not self._items and not self._by_path:
            return NO_POLICY
        policy = self._by_path.get((path, raw_path))
        if policy is None:
            policy = NO_POLICY if _AMBIGUOUS_PATH.search(raw_path) else self._match(path)
            if len(self._by_path) >= MAX_CACHED:
                self._by_path.clear()
            self._by_path[path, raw_path] = policy
        return policy

    def set_query(self, path: str, raw_path: bytes, query: frozenset[bytes]) -> bool:
        """Use only the parameters *query* for *path*, as its handler declares; return whether that is allowed."""
        policy = self.for_path(path, raw_path)
        if policy.query is not None or _AMBIGUOUS_PATH.search(raw_path):
            return False
        entry = self._with_query.get((id(policy), query))
        if entry is None:
            if len(self._with_query) >= MAX_CACHED:
                self._with_query.clear()
            entry = self._with_query[id(policy), query] = (policy, replace(policy, query=query))
        self._by_path[path, raw_path] = entry[1]
        return True

    def for_handler(self, handler_policy: CachePolicy, policy: CachePolicy) -> CachePolicy:
        """Return *handler_policy*, of ``@cached``, combined with the *policy* of its path."""
        if policy is NO_POLICY:
            return handler_policy
        entry = self._for_handlers.get((id(handler_policy), id(policy)))
        if entry is None:
            if len(self._for_handlers) >= MAX_CACHED:
                self._for_handlers.clear()
            # The value references both, because an id is unique only during an object's lifetime.
            entry = (handler_policy, policy, handler_policy.combined(policy))
            self._for_handlers[id(handler_policy), id(policy)] = entry
        return entry[2]

    def for_route(self, policy: CachePolicy, parameters: RouteParameters) -> CachePolicy:
        """Return *policy* for a route that declares *parameters*."""
        entry = self._for_routes.get((id(policy), id(parameters)))
        if entry is None:
            if len(self._for_routes) >= MAX_CACHED:
                self._for_routes.clear()
            vary = tuple(sorted({*policy.vary, *parameters.headers}))
            combined = replace(policy, vary=vary, credential_headers=parameters.credential_headers)
            entry = self._for_routes[id(policy), id(parameters)] = (policy, parameters, combined)
        return entry[2]

    def _match(self, path: str) -> CachePolicy:
        return next((policy for glob, policy in self._items if glob.matches(path)), NO_POLICY)
