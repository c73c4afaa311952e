"""Decisions of each limit, and the keys that it refuses most: recorded for the console only."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, time
from typing import Any

from starlette.types import Scope

from scalekit import Key
from scalekit.contracts import subject_in
from scalekit_ratelimit.headers import HitResults
from scalekit_ratelimit.heavy_hitters import HeavyHitters
from scalekit_ratelimit.limits import Limit

RECENT = 60
"""Seconds over which rates are averaged."""
MAX_NAME = 200
"""Characters of an issuer or subject that are kept."""


class RecentCount:
    """Counts the events of the last RECENT seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seconds = [-RECENT] * RECENT
        self._counts = [0] * RECENT

    def add(self) -> None:
        """Count an event now."""
        second = int(self._clock())
        slot = second % RECENT
        if self._seconds[slot] != second:
            self._seconds[slot], self._counts[slot] = second, 0
        self._counts[slot] += 1

    def total(self) -> int:
        """Return the number of recent events."""
        oldest = int(self._clock()) - RECENT
        return sum(count for second, count in zip(self._seconds, self._counts, strict=True) if second > oldest)


class LimitCounts:
    """The decisions of *limit*; *dry_run* refusals let the request pass."""

    def __init__(self, limit: Limit, dry_run: bool, clock: Callable[[], float]) -> None:
        self.limit = limit
        self.dry_run = dry_run
        self.allowed = 0
        self.refused = 0
        self.recent_allowed = RecentCount(clock)
        self.recent_refused = RecentCount(clock)
        self.hitters = HeavyHitters()


class LimitStatistics:
    """The counts of each limit by name; limits come from the file and from decorators, so they are few."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.limits: dict[str, LimitCounts] = {}
        self._clock = clock

    def record_allowed(self, limit: Limit, dry_run: bool = False) -> None:
        """Count a request that *limit* allows."""
        counts = self._counts(limit, dry_run)
        counts.allowed += 1
        counts.recent_allowed.add()

    def record_refused(self, limit: Limit, key: str, dry_run: bool, scope: Scope | None) -> None:
        """Count a request of *scope* that *limit* refuses, and its *key*."""
        counts = self._counts(limit, dry_run)
        counts.refused += 1
        counts.recent_refused.add()
        counts.hitters.add(key).details = _describe(key, scope)

    def record(self, results: HitResults, scope: Scope | None) -> None:
        """Count the decisions in *results*."""
        for hit, state in results:
            if state.allowed:
                self.record_allowed(hit.limit, hit.dry_run)
            else:
                self.record_refused(hit.limit, hit.key, hit.dry_run, scope)

    def find(self, policy: str) -> list[Limit]:
        """Return the limits of *policy* that have decided, for policies of decorated handlers."""
        return [counts.limit for name, counts in self.limits.items() if name == policy or name.startswith(f"{policy} ")]

    def _counts(self, limit: Limit, dry_run: bool) -> LimitCounts:
        counts = self.limits.get(limit.name)
        if counts is None:
            counts = self.limits[limit.name] = LimitCounts(limit, dry_run, self._clock)
        return counts


STATISTICS: Key[LimitStatistics] = Key("rate limit statistics", plugin="ratelimit")
"""Exists when a plugin shows pages."""


def _describe(key: str, scope: Scope | None) -> dict[str, Any]:
    """Return the address and, when requests are counted by user, the user of *scope*; never a header value."""
    scope = scope or {}
    client = scope.get("client")
    details: dict[str, Any] = {"at": time(), "address": client[0] if client else ""}
    subject = subject_in(scope) if key.startswith("subject.") else None
    if subject is not None:
        details |= {"issuer": subject.issuer[:MAX_NAME], "user": subject.subject[:MAX_NAME]}
    return details
