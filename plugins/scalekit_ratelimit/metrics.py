"""What is counted."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from scalekit.telemetry import Alert, Counter, CounterSeries, Gauge, Telemetry

REFUSED = Counter("scalekit_ratelimit_refused", "Requests that a policy refused.", ("policy",))
WOULD_REFUSE = Counter("scalekit_ratelimit_would_refuse", "Requests that a policy on trial would refuse.", ("policy",))
ERRORS = Counter(
    "scalekit_ratelimit_errors",
    "Requests that could not be counted on Redis.",
    ("outcome",),
    alert=Alert("Requests are not counted where all instances count."),
)
LATE = Counter(
    "scalekit_ratelimit_late",
    "Requests that were decided before Redis had answered; each may be one more than a limit allows.",
)
SHED = Counter("scalekit_ratelimit_shed", "Requests refused because too many were in flight.", ("priority",))
KEYS = Gauge("scalekit_ratelimit_keys", "Keys that are remembered in memory.")
IN_FLIGHT = Gauge("scalekit_ratelimit_in_flight", "Requests in flight, where concurrency is limited.")
CONCURRENCY = Gauge("scalekit_ratelimit_concurrency_limit", "Requests that may be in flight.")


class RateLimitMetrics:
    """The numbers of the limits."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._refused: dict[str, CounterSeries] = {}

    def refused(self, policy: str) -> None:
        """Count a request that *policy* refused."""
        series = self._refused.get(policy)
        if series is None:
            series = self._refused[policy] = self._telemetry.series(REFUSED, policy)
        series.inc()

    def would_refuse(self, policy: str) -> None:
        """Count a request that *policy* would have refused."""
        self._telemetry.series(WOULD_REFUSE, policy).inc()

    def failed(self, outcome: str) -> None:
        """Count a request that Redis did not count, and what was done instead."""
        self._telemetry.series(ERRORS, outcome).inc()

    def late(self) -> None:
        """Count a request that Redis may have counted, and that was decided without it."""
        self._telemetry.series(LATE).inc()

    def shed(self, priority: str) -> None:
        """Count a request that was refused because there was too much to do."""
        self._telemetry.series(SHED, priority).inc()

    @contextmanager
    def showing(
        self, keys: Callable[[], int], concurrency: Callable[[], tuple[int, int]] | None
    ) -> Generator[None, None, None]:
        """Set the gauges whenever numbers are read, until left."""
        remembered = self._telemetry.series(KEYS)
        flying, limit = self._telemetry.series(IN_FLIGHT), self._telemetry.series(CONCURRENCY)

        def sample() -> None:
            remembered.set(keys())
            if concurrency is not None:
                in_flight, allowed = concurrency()
                flying.set(in_flight)
                limit.set(allowed)

        with self._telemetry.on_collect(sample):
            yield
