"""What is counted."""

from __future__ import annotations

from scalekit.telemetry import Counter, Gauge, Telemetry
from scalekit_caching.metrics import CachingMetrics

REQUESTS = Counter("scalekit_cache_requests", "Requests that the cache could answer, by how it went.", ("outcome",))
REFRESHES = Counter("scalekit_cache_refreshes", "Answers that were made anew in the background.", ("outcome",))

OWED = Gauge("scalekit_cache_owed_purges", "Tags of tables whose purge the shared store has not taken yet.")

OUTCOMES = ("hit", "stale", "collapsed", "validated", "miss", "pass")


class CacheMetrics(CachingMetrics):
    """The numbers of the cache."""

    def __init__(self, telemetry: Telemetry) -> None:
        super().__init__(telemetry, "cache")
        self.hit, self.stale, self.collapsed, self.validated, self.miss, self.passed = (
            telemetry.series(REQUESTS, outcome) for outcome in OUTCOMES
        )
        self.refreshed, self.not_refreshed = (telemetry.series(REFRESHES, outcome) for outcome in ("done", "failed"))
        self.owing = telemetry.series(OWED)
        self.owing.set(0)
