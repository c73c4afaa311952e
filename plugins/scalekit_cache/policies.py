"""What the file, and marks in the code, say of answers that say nothing themselves."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from scalekit import PathGlob
from scalekit_cache.route_parameters import RouteParameters

DEFAULT_STATUSES = frozenset({200, 301, 308})
REMEMBERED = 4096
"""Paths whose policy is remembered."""

_SUSPICIOUS = re.compile(rb"%(?:2e|2f|5c|00|3b|3f|23|25)|[\\;\x00-\x20]|//|/\.\.?(?:/|$)", re.IGNORECASE)


@dataclass(frozen=True)
class CachePolicy:
    """How answers are kept that do not say it themselves; times are in seconds, *ttl* None leaves it to the answer.

    *query* are the parameters that count, None for all. *ignores_cookies* says that answers do not depend on cookies.
    *reads* are headers from which the route takes credentials.
    """

    ttl: float | None = None
    vary: tuple[bytes, ...] = ()
    query: frozenset[bytes] | None = None
    by_identity: bool = False
    ignores_cookies: bool = False
    while_revalidate: float = 0.0
    if_error: float = 0.0
    early: float = 0.0
    tags: tuple[bytes, ...] = ()
    statuses: frozenset[int] = DEFAULT_STATUSES
    reads: tuple[bytes, ...] = ()

    def under(self, policy: CachePolicy) -> CachePolicy:
        """Return this with what *policy* says of queries, of tags, and of who may have the answers."""
        return replace(
            self,
            query=self.query if policy.query is None else policy.query,
            vary=(*self.vary, *policy.vary),
            tags=(*self.tags, *policy.tags),
            by_identity=self.by_identity or policy.by_identity,
            ignores_cookies=self.ignores_cookies or policy.ignores_cookies,
        )


NO_POLICY = CachePolicy()


class CachePolicies:
    """The policies of the file, the first that matches a path counts."""

    def __init__(self, items: Sequence[tuple[str, CachePolicy]]) -> None:
        self._items = [(PathGlob(path), policy) for path, policy in items]
        self._known: dict[tuple[str, bytes], CachePolicy] = {}
        self._merged: dict[tuple[int, int], tuple[CachePolicy, CachePolicy, CachePolicy]] = {}
        self._querying: dict[tuple[int, frozenset[bytes]], tuple[CachePolicy, CachePolicy]] = {}
        self._reading: dict[tuple[int, int], tuple[CachePolicy, RouteParameters, CachePolicy]] = {}
        self.reshape_queries = any(policy.query is not None for _, policy in items)

    def of(self, path: str, raw_path: bytes) -> CachePolicy:
        """Return the policy of *path*; none has a path that an application and a file may read in different ways."""
        if not self._items and not self._known:
            return NO_POLICY
        known = self._known.get((path, raw_path))
        if known is None:
            known = NO_POLICY if _SUSPICIOUS.search(raw_path) else self._match(path)
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[path, raw_path] = known
        return known

    def remember_query(self, path: str, raw_path: bytes, query: frozenset[bytes]) -> bool:
        """Let the parameters *query* count of *path*, as its handler says; return whether they can."""
        policy = self.of(path, raw_path)
        if policy.query is not None or _SUSPICIOUS.search(raw_path):
            return False
        known = self._querying.get((id(policy), query))
        if known is None:
            if len(self._querying) >= REMEMBERED:
                self._querying.clear()
            known = self._querying[id(policy), query] = (policy, replace(policy, query=query))
        self._known[path, raw_path] = known[1]
        return True

    def merged(self, mark: CachePolicy, policy: CachePolicy) -> CachePolicy:
        """Return *mark*, of a handler, with what the *policy* of its path says of who may have the answers."""
        if policy is NO_POLICY:
            return mark
        known = self._merged.get((id(mark), id(policy)))
        if known is None:
            if len(self._merged) >= REMEMBERED:
                self._merged.clear()
            # Both are kept beside, since an id is an object's own only as long as that is there.
            known = self._merged[id(mark), id(policy)] = (mark, policy, mark.under(policy))
        return known[2]

    def reading(self, policy: CachePolicy, reads: RouteParameters) -> CachePolicy:
        """Return *policy* for a route that reads what *reads* says."""
        known = self._reading.get((id(policy), id(reads)))
        if known is None:
            if len(self._reading) >= REMEMBERED:
                self._reading.clear()
            vary = tuple(sorted({*policy.vary, *reads.varies}))
            merged = replace(policy, vary=vary, reads=reads.credentials)
            known = self._reading[id(policy), id(reads)] = (policy, reads, merged)
        return known[2]

    def _match(self, path: str) -> CachePolicy:
        return next((policy for glob, policy in self._items if glob.matches(path)), NO_POLICY)
