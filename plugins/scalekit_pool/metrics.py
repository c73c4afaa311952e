"""Prometheus metrics of the connection pool."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from time import perf_counter

from scalekit.telemetry import Alert, Counter, Gauge, Histogram, Share, Telemetry, record_span
from scalekit_pool.connections.driver import RawConnection
from scalekit_pool.connections.pool import ConnectionPool
from scalekit_pool.spans import WAIT_SPAN

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

QUERY_DURATION = Histogram(
    "scalekit_pool_query_duration_seconds", "Duration of statements.", ("pool",), buckets=BUCKETS
)
ROWS = Counter("scalekit_pool_rows", "Rows that statements returned.", ("pool",))
ERRORS = Counter("scalekit_pool_errors", "Statements that failed.", ("pool", "reason"))
SLOW = Counter("scalekit_pool_slow_queries", "Statements that took longer than slow_query_threshold.", ("pool",))
ACQUIRE_DURATION = Histogram(
    "scalekit_pool_acquire_seconds",
    "Time that requests waited for a connection, if they had to.",
    ("pool",),
    buckets=BUCKETS,
)
REFUSED = Counter(
    "scalekit_pool_refused",
    "Requests that were refused a connection.",
    ("pool", "reason"),
    alert=Alert(
        "Requests are refused a database connection: the pool is exhausted or the database unreachable.",
        "Clients receive 503. By the label reason: if the database is unreachable, restore it; if all connections"
        " are in use for longer than acquire_timeout, look for slow statements and locks before you raise max_size.",
        severity="critical",
    ),
)
OPENED = Counter("scalekit_pool_connections_opened", "Connections opened.", ("pool",))
CLOSED = Counter("scalekit_pool_connections_closed", "Connections closed.", ("pool", "reason"))
STALE = Counter(
    "scalekit_pool_stale_primaries",
    "Connections refused because the server is a primary of an older timeline.",
    ("pool",),
    alert=Alert(
        "An old primary still accepts writes; writes to it will be lost.",
        "Two servers of the cluster accept writes (split brain); this service refuses the older one. Fence it: stop"
        " the server at once, compare what others have written to it since the failover, and rebuild it as a replica.",
        severity="critical",
    ),
)
LEAKS = Counter(
    "scalekit_pool_leaks",
    "Connections held longer than leak_detection_threshold.",
    ("pool",),
    alert=Alert(
        "Database connections are held too long: a connection leak is likely.",
        "The log names the line of code that acquired each. Look for a transaction that spans a call to another"
        " service, and for connections that are not released on every path.",
    ),
)
SIZE = Gauge("scalekit_pool_size", "Connections open or being opened.", ("pool",))
IDLE = Gauge("scalekit_pool_idle", "Idle connections.", ("pool",))
MAX_SIZE = Gauge("scalekit_pool_max_size", "Maximum number of connections.", ("pool",))
IN_USE = Gauge(
    "scalekit_pool_in_use",
    "Connections in use, being opened or being reset.",
    ("pool",),
    share=Share("Database connections in use", whole=MAX_SIZE.name),
)
WAITING = Gauge("scalekit_pool_waiting", "Requests waiting for a connection.", ("pool",))


class StatementMetrics:
    """The metrics of the statements of one database."""

    def __init__(self, telemetry: Telemetry, pool: str) -> None:
        self._telemetry = telemetry
        self._pool = pool
        self.duration = telemetry.series(QUERY_DURATION, pool)
        self.rows = telemetry.series(ROWS, pool)
        self.slow = telemetry.series(SLOW, pool)
        self.leaks = telemetry.series(LEAKS, pool)

    def failed(self, reason: str) -> None:
        """Count a failed statement."""
        self._telemetry.series(ERRORS, self._pool, reason).inc()


class ConnectionMetrics:
    """The metrics of the connections of one pool."""

    def __init__(self, telemetry: Telemetry, pool: str) -> None:
        self._telemetry = telemetry
        self._pool = pool
        self.waits = telemetry.series(ACQUIRE_DURATION, pool)
        self.refusals = 0
        self._opened = telemetry.series(OPENED, pool)

    def waited(self, seconds: float) -> None:
        """Record how long a task waited for a connection."""
        self.waits.observe(seconds)
        record_span(WAIT_SPAN, perf_counter() - seconds, (self._pool,))

    def opened(self) -> None:
        """Count an opened connection."""
        self._opened.inc()

    def closed(self, reason: str) -> None:
        """Count a closed connection."""
        self._telemetry.series(CLOSED, self._pool, reason).inc()

    def refused(self, reason: str) -> None:
        """Count a task that was refused a connection."""
        self.refusals += 1
        self._telemetry.series(REFUSED, self._pool, reason).inc()

    def stale(self) -> None:
        """Count a connection refused because its server is a primary of an old timeline."""
        self._telemetry.series(STALE, self._pool).inc()

    @contextmanager
    def gauges(self, pool: ConnectionPool[RawConnection]) -> Generator[None, None, None]:
        """Set the gauges from *pool* at each collection while inside."""
        series = [self._telemetry.series(gauge, self._pool) for gauge in (MAX_SIZE, SIZE, IDLE, IN_USE, WAITING)]

        def sample() -> None:
            size, idle = pool.supplier.size, pool.idle
            values = (pool.supplier.limits.max_size, size, idle, size - idle, pool.waiting)
            for gauge, value in zip(series, values, strict=True):
                gauge.set(value)

        with self._telemetry.on_collect(sample):
            yield
