"""Prometheus metrics of Redis connections."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

from scalekit.telemetry import Alert, Counter, Gauge, Histogram, Instrument, Telemetry
from scalekit_redis.url import parse_url

BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)

COMMANDS = Counter("scalekit_redis_commands", "Redis commands with a reply.", ("server",), group="redis")
DURATIONS = Histogram(
    "scalekit_redis_command_duration_seconds",
    "Time from sending a Redis command to its reply; a pipeline and combined script runs count as one.",
    ("server",),
    buckets=BUCKETS,
    group="redis",
)
ERRORS = Counter(
    "scalekit_redis_errors", "Failed Redis commands and connection attempts.", ("server", "reason"), group="redis"
)
CONNECTIONS = Counter("scalekit_redis_connections_opened", "Opened connections to Redis.", ("server",), group="redis")
IN_FLIGHT = Gauge("scalekit_redis_in_flight", "Redis commands in flight or queued.", ("server",), group="redis")
BREAKERS = Gauge(
    "scalekit_redis_open_breakers",
    "Redis servers with an open circuit breaker: commands fail at once.",
    ("server",),
    alert=Alert(
        "Redis is unavailable: features that need it fail or degrade.",
        "Each plugin degrades as the section Failure of its README says. Is the server of the label running and"
        " reachable, and are its password and certificate valid? The connection is restored by itself.",
        duration="1m",
        severity="critical",
    ),
    group="redis",
)
MASTER = Gauge(
    "scalekit_redis_master",
    "1 for the server that Sentinel names as the master, 0 for former masters.",
    ("server", "master"),
    group="redis",
    multiprocess_mode="max",
)
FAILOVERS = Counter(
    "scalekit_redis_failovers", "Changes of the master that Sentinel has reported.", ("server",), group="redis"
)


def redis_instruments(url: str) -> Sequence[Instrument[Any]]:
    """Return the metrics of connections to *url*, for the ``scalekit_metrics`` of a plugin that uses Redis.

    Those of failovers are only recorded for a Sentinel URL. Raises ValueError when *url* is invalid.
    """
    instruments = (COMMANDS, DURATIONS, ERRORS, CONNECTIONS, IN_FLIGHT, BREAKERS)
    return (*instruments, MASTER, FAILOVERS) if parse_url(url).master else instruments


class RedisMetrics:
    """The metrics of one URL."""

    def __init__(self, telemetry: Telemetry, server: str) -> None:
        self._telemetry = telemetry
        self._server = server
        self.commands = telemetry.series(COMMANDS, server)
        self.durations = telemetry.series(DURATIONS, server)
        self.connections = telemetry.series(CONNECTIONS, server)

    def of_sentinel(self, server: str) -> RedisMetrics:
        """Return the metrics of the connection to the Sentinel *server*."""
        return RedisMetrics(self._telemetry, server)

    def set_master(self, former: str, master: str) -> None:
        """Set the gauge of the master; *former* and *master* are empty when there is none."""
        for name, value in ((former, 0), (master, 1)):
            if name:
                self._telemetry.series(MASTER, self._server, name).set(value)
        if former and master:
            self._telemetry.series(FAILOVERS, self._server).inc()

    def count_errors(self, reason: str, number: int = 1) -> None:
        """Count *number* failed commands or connection attempts."""
        self._telemetry.series(ERRORS, self._server, reason).inc(number)

    @contextmanager
    def export_gauges(
        self, in_flight: Callable[[], int], open_breakers: Callable[[], int]
    ) -> Generator[None, None, None]:
        """Set the gauges at every scrape while inside."""
        in_flight_gauge = self._telemetry.series(IN_FLIGHT, self._server)
        breaker_gauge = self._telemetry.series(BREAKERS, self._server)

        def sample() -> None:
            in_flight_gauge.set(in_flight())
            breaker_gauge.set(open_breakers())

        with self._telemetry.on_collect(sample):
            try:
                yield
            finally:
                in_flight_gauge.set(0)
                breaker_gauge.set(0)
