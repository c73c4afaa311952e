"""What is counted."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from scalekit.telemetry import Alert, Counter, Gauge, Telemetry

REQUESTS = Counter("scalekit_cache_requests", "Requests that the cache could answer, by how it went.", ("outcome",))
OBJECTS = Counter("scalekit_cache_objects", "Values that applications asked for, by how it went.", ("outcome",))
REFRESHES = Counter("scalekit_cache_refreshes", "Answers that were made anew in the background.", ("outcome",))
INVALID = Counter(
    "scalekit_cache_invalid",
    "Kept items that could not be read, and were deleted.",
    alert=Alert("Items of the cache cannot be read."),
)
FAILURES = Counter(
    "scalekit_cache_store_failures",
    "Calls of the shared store that failed.",
    ("error",),
    alert=Alert("The shared store of the cache fails."),
)
PURGES = Counter("scalekit_cache_purges", "Purges of tags and paths.")
EVICTED = Gauge("scalekit_cache_evicted", "Items that made room for others.")
ITEMS = Gauge("scalekit_cache_items", "Items in the process.")
BYTES = Gauge("scalekit_cache_bytes", "Bytes of items in the process.")

OUTCOMES = ("hit", "stale", "collapsed", "validated", "miss", "pass")


class Metrics:
    """The numbers of the cache."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self.hit, self.stale, self.collapsed, self.validated, self.miss, self.passed = (
            telemetry.series(REQUESTS, outcome) for outcome in OUTCOMES
        )
        self.object_hit, self.object_miss = (telemetry.series(OBJECTS, outcome) for outcome in ("hit", "miss"))
        self.refreshed, self.not_refreshed = (telemetry.series(REFRESHES, outcome) for outcome in ("done", "failed"))
        self.invalid = telemetry.series(INVALID)
        self.purges = telemetry.series(PURGES)

    def failed(self, error: str) -> None:
        """Count a call of the shared store that failed with *error*."""
        self._telemetry.series(FAILURES, error).inc()

    @contextmanager
    def showing(self, figures: Callable[[], tuple[int, int, int]]) -> Generator[None, None, None]:
        """Set the gauges from *figures*, items, bytes and evicted, whenever numbers are read, until left."""
        gauges = [self._telemetry.series(gauge) for gauge in (ITEMS, BYTES, EVICTED)]

        def sample() -> None:
            for gauge, value in zip(gauges, figures(), strict=True):
                gauge.set(value)

        with self._telemetry.sampling(sample):
            yield
