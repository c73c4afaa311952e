"""Prometheus metrics of the cache."""

from __future__ import annotations

from starlette.types import Scope

from scalekit.telemetry import Counter, Gauge, Share, Telemetry
from scalekit_cache.route_outcomes import RouteOutcomes
from scalekit_caching import CachingMetrics

REQUESTS = Counter(
    "scalekit_cache_requests",
    "GET and HEAD requests, by outcome.",
    ("outcome",),
    share=Share("Cache hits", ("hit", "stale", "collapsed", "revalidated")),
)
REFRESHES = Counter("scalekit_cache_refreshes", "Refreshes of stored responses in the background.", ("outcome",))

PENDING_PURGES = Gauge("scalekit_cache_pending_purges", "Tags of tables whose purge the shared store has not accepted.")

OUTCOMES = ("hit", "stale", "collapsed", "revalidated", "miss", "bypass")


class CacheMetrics(CachingMetrics):
    """The metrics of the cache plugin; ``routes`` has the outcomes by route when they are recorded."""

    routes: RouteOutcomes | None = None

    def __init__(self, telemetry: Telemetry) -> None:
        super().__init__(telemetry, "cache")
        self.hit, self.stale, self.collapsed, self.revalidated, self.miss, self.bypass = (
            telemetry.series(REQUESTS, outcome) for outcome in OUTCOMES
        )
        self.refresh_done, self.refresh_failed = (
            telemetry.series(REFRESHES, outcome) for outcome in ("done", "failed")
        )
        self.pending_purges = telemetry.series(PENDING_PURGES)
        self.pending_purges.set(0)

    def count(self, outcome: str, scope: Scope) -> None:
        """Count a request with *outcome*, whose *scope* has the route once the application or the cache has set it."""
        getattr(self, outcome).inc()
        if self.routes is not None:
            self.routes.add(scope, outcome)
