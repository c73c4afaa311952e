"""What is counted."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from scalekit.telemetry import Alert, Counter, Gauge, Histogram, Telemetry

BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)

COMMANDS = Counter("scalekit_redis_commands", "Commands that were answered.", ("redis",), group="redis")
SECONDS = Histogram(
    "scalekit_redis_seconds",
    "Time that calls took, pipelines and runs of a script that go together as one.",
    ("redis",),
    buckets=BUCKETS,
    group="redis",
)
ERRORS = Counter(
    "scalekit_redis_errors",
    "Calls that failed, and connections that could not be had.",
    ("redis", "kind"),
    group="redis",
)
CONNECTIONS = Counter("scalekit_redis_connections_opened", "Connections that were opened.", ("redis",), group="redis")
IN_FLIGHT = Gauge("scalekit_redis_in_flight", "Calls that wait for a reply.", ("redis",), group="redis")
BREAKERS = Gauge(
    "scalekit_redis_open_breakers",
    "Servers whose callers are refused at once.",
    ("redis",),
    alert=Alert("A Redis is gone: what needs it is refused or degraded.", lasting="1m", severity="critical"),
    group="redis",
)


class RedisMetrics:
    """The numbers of one address."""

    def __init__(self, telemetry: Telemetry, redis: str) -> None:
        self._telemetry = telemetry
        self._redis = redis
        self.commands = telemetry.series(COMMANDS, redis)
        self.seconds = telemetry.series(SECONDS, redis)
        self.connections = telemetry.series(CONNECTIONS, redis)

    def failed(self, kind: str, number: int = 1) -> None:
        """Count calls that failed."""
        self._telemetry.series(ERRORS, self._redis, kind).inc(number)

    @contextmanager
    def showing(self, in_flight: Callable[[], int], open_breakers: Callable[[], int]) -> Generator[None, None, None]:
        """Set the gauges whenever numbers are read, until left."""
        flying = self._telemetry.series(IN_FLIGHT, self._redis)
        broken = self._telemetry.series(BREAKERS, self._redis)

        def sample() -> None:
            flying.set(in_flight())
            broken.set(open_breakers())

        with self._telemetry.on_collect(sample):
            try:
                yield
            finally:
                flying.set(0)
                broken.set(0)
