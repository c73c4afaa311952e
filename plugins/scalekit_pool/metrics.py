"""What is counted."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from scalekit.telemetry import Alert, Counter, Gauge, Histogram, Telemetry
from scalekit_pool.pool import Pool

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

QUERY_SECONDS = Histogram("scalekit_pool_query_seconds", "Time that statements took.", ("pool",), buckets=BUCKETS)
ROWS = Counter("scalekit_pool_rows", "Rows that statements gave.", ("pool",))
ERRORS = Counter("scalekit_pool_errors", "Statements that failed.", ("pool", "kind"))
SLOW = Counter("scalekit_pool_slow_queries", "Statements that took longer than is slow.", ("pool",))
WAIT_SECONDS = Histogram(
    "scalekit_pool_acquire_seconds", "Time that who had to wait for a connection waited.", ("pool",), buckets=BUCKETS
)
REFUSED = Counter(
    "scalekit_pool_refused",
    "Requests that got no connection.",
    ("pool", "why"),
    alert=Alert("Requests get no connection to the database.", severity="critical"),
)
OPENED = Counter("scalekit_pool_connections_opened", "Connections that were opened.", ("pool",))
CLOSED = Counter("scalekit_pool_connections_closed", "Connections that were closed.", ("pool", "why"))
STALE = Counter(
    "scalekit_pool_stale_primaries",
    "Connections that were refused because the server is a primary of an older timeline.",
    ("pool",),
    alert=Alert("An old primary says that it is one still; what others write there is lost.", severity="critical"),
)
LEAKS = Counter(
    "scalekit_pool_leaks",
    "Connections that were held for too long.",
    ("pool",),
    alert=Alert("Connections to the database are held for too long."),
)
SIZE = Gauge("scalekit_pool_size", "Connections that are open or being opened.", ("pool",))
IDLE = Gauge("scalekit_pool_idle", "Connections that nobody uses.", ("pool",))
IN_USE = Gauge("scalekit_pool_in_use", "Connections that are used, or become ready.", ("pool",))
WAITING = Gauge("scalekit_pool_waiting", "Requests that wait for a connection.", ("pool",))


class StatementMetrics:
    """What is counted of the statements of one database."""

    def __init__(self, telemetry: Telemetry, pool: str) -> None:
        self._telemetry = telemetry
        self._pool = pool
        self.seconds = telemetry.series(QUERY_SECONDS, pool)
        self.rows = telemetry.series(ROWS, pool)
        self.slow = telemetry.series(SLOW, pool)
        self.leaks = telemetry.series(LEAKS, pool)

    def failed(self, kind: str) -> None:
        """Count a statement that failed."""
        self._telemetry.series(ERRORS, self._pool, kind).inc()


class ConnectionMetrics:
    """What is counted of the connections of one pool."""

    def __init__(self, telemetry: Telemetry, pool: str) -> None:
        self._telemetry = telemetry
        self._pool = pool
        self._waits = telemetry.series(WAIT_SECONDS, pool)
        self._opened = telemetry.series(OPENED, pool)

    def waited(self, seconds: float) -> None:
        """Note how long somebody waited for a connection."""
        self._waits.observe(seconds)

    def opened(self) -> None:
        """Count a connection that was opened."""
        self._opened.inc()

    def closed(self, why: str) -> None:
        """Count a connection that was closed."""
        self._telemetry.series(CLOSED, self._pool, why).inc()

    def refused(self, why: str) -> None:
        """Count somebody who got no connection."""
        self._telemetry.series(REFUSED, self._pool, why).inc()

    def stale(self) -> None:
        """Count a connection that was refused because its server is an old primary."""
        self._telemetry.series(STALE, self._pool).inc()

    @contextmanager
    def showing(self, pool: Pool[Any]) -> Generator[None, None, None]:
        """Set the gauges from *pool* whenever numbers are read, until left."""
        series = [self._telemetry.series(gauge, self._pool) for gauge in (SIZE, IDLE, IN_USE, WAITING)]

        def sample() -> None:
            size, idle = pool.supply.size, pool.idle
            for gauge, value in zip(series, (size, idle, size - idle, pool.waiting), strict=True):
                gauge.set(value)

        with self._telemetry.on_collect(sample):
            yield
