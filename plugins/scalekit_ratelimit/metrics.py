"""Prometheus metrics of the rate limits and of load shedding."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from scalekit.telemetry import Alert, Counter, CounterSeries, Gauge, Telemetry
from scalekit_ratelimit.limit_statistics import LimitStatistics

REFUSED = Counter("scalekit_ratelimit_refused", "Requests refused by a policy (429).", ("policy",))
DRY_RUN_REFUSED = Counter(
    "scalekit_ratelimit_dry_run_refused", "Requests that a dry-run policy would have refused.", ("policy",)
)
ERRORS = Counter(
    "scalekit_ratelimit_errors",
    "Requests not counted in the shared store, by the fallback that was applied.",
    ("outcome",),
    alert=Alert(
        "Rate limits are not counted in the shared store.",
        "While Redis or the database is unavailable each worker counts by itself or refuses, as on_error says. Restore"
        " it; counting in it resumes by itself.",
    ),
)
STORE_TIMEOUTS = Counter(
    "scalekit_ratelimit_store_timeouts",
    "Requests decided before the shared store replied; each may exceed its limit by one.",
)
SHED = Counter("scalekit_ratelimit_shed", "Requests shed because too many were in flight (503).", ("priority",))
KEYS = Gauge("scalekit_ratelimit_keys", "Rate limit keys in the memory of the process.")
IN_FLIGHT = Gauge("scalekit_ratelimit_in_flight", "Requests in flight that count against the concurrency limit.")
CONCURRENCY_LIMIT = Gauge("scalekit_ratelimit_concurrency_limit", "Adaptive limit of requests in flight.")


class RateLimitMetrics:
    """Records the metrics of one application."""

    def __init__(self, telemetry: Telemetry, statistics: LimitStatistics | None = None) -> None:
        self.statistics = statistics
        """The statistics for the console, None without one."""
        self._telemetry = telemetry
        self._refused: dict[str, CounterSeries] = {}

    def count_refused(self, policy: str) -> None:
        """Count a request that *policy* refused."""
        series = self._refused.get(policy)
        if series is None:
            series = self._refused[policy] = self._telemetry.series(REFUSED, policy)
        series.inc()

    def count_dry_run_refused(self, policy: str) -> None:
        """Count a request that *policy* would have refused without ``dry_run``."""
        self._telemetry.series(DRY_RUN_REFUSED, policy).inc()

    def count_store_error(self, outcome: str) -> None:
        """Count a request that was not counted in the shared store; *outcome* is the value of ``on_error``."""
        self._telemetry.series(ERRORS, outcome).inc()

    def count_store_timeout(self) -> None:
        """Count a request that was decided without the reply of the shared store, which may have counted it."""
        self._telemetry.series(STORE_TIMEOUTS).inc()

    def count_shed(self, priority: str) -> None:
        """Count a request that was shed."""
        self._telemetry.series(SHED, priority).inc()

    def shed(self, priority: str) -> float:
        """Return how many requests were shed."""
        return self._telemetry.series(SHED, priority).value

    @contextmanager
    def export_gauges(
        self, keys: Callable[[], int], concurrency: Callable[[], tuple[int, int]] | None
    ) -> Generator[None, None, None]:
        """Set the gauges at each scrape, until the block is left."""
        keys_gauge = self._telemetry.series(KEYS)
        in_flight_gauge, limit_gauge = self._telemetry.series(IN_FLIGHT), self._telemetry.series(CONCURRENCY_LIMIT)

        def sample() -> None:
            keys_gauge.set(keys())
            if concurrency is not None:
                in_flight, limit = concurrency()
                in_flight_gauge.set(in_flight)
                limit_gauge.set(limit)

        with self._telemetry.on_collect(sample):
            yield
