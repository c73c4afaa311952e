"""Prometheus metrics of broadcasts."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from scalekit.telemetry import Alert, Counter, CounterSeries, Gauge, Telemetry

PUBLISHED = Counter("scalekit_broadcast_published", "Messages that this process has published.")
DELIVERED = Counter("scalekit_broadcast_delivered", "Messages that subscribers have received.")
MISSED = Counter(
    "scalekit_broadcast_missed",
    "Messages that a subscriber did not receive: too slow, not in the history any more, or lost by the transport.",
    ("reason",),
)
ERRORS = Counter(
    "scalekit_broadcast_errors",
    "Messages that could not be published, and subscriptions that could not begin.",
    ("reason",),
    alert=Alert(
        "Broadcasts are not published, or clients cannot subscribe.",
        "Redis, or the supervisor in memory, does not respond. Clients that are connected miss messages until it does,"
        " and are then sent what the history of their channel has. Restore Redis.",
    ),
)
RECONNECTIONS = Counter(
    "scalekit_broadcast_reconnections", "Channels that were completed from their history after an interruption."
)
SUBSCRIBERS = Gauge("scalekit_broadcast_subscribers", "Subscribers in the process.")
CHANNELS = Gauge("scalekit_broadcast_channels", "Channels with subscribers in the process.")


class BroadcastMetrics:
    """Records the metrics of one application; ``delivered`` is exported when metrics are collected."""

    def __init__(self, telemetry: Telemetry) -> None:
        self.delivered = 0
        self.published = telemetry.series(PUBLISHED)
        self.reconnections = telemetry.series(RECONNECTIONS)
        self._telemetry = telemetry
        self._missed: dict[str, CounterSeries] = {}

    def count_missed(self, reason: str, number: int) -> None:
        """Count *number* messages that a subscriber missed."""
        series = self._missed.get(reason)
        if series is None:
            series = self._missed[reason] = self._telemetry.series(MISSED, reason)
        series.inc(number)

    def count_error(self, reason: str) -> None:
        """Count a message that was not published, or a subscription that did not begin."""
        self._telemetry.series(ERRORS, reason).inc()

    @contextmanager
    def export_gauges(
        self, count_subscribers: Callable[[], int], count_channels: Callable[[], int]
    ) -> Generator[None, None, None]:
        """Set the gauges at each scrape, until the block is left."""
        subscribers, channels = self._telemetry.series(SUBSCRIBERS), self._telemetry.series(CHANNELS)
        delivered, exported = self._telemetry.series(DELIVERED), 0

        def sample() -> None:
            nonlocal exported
            delivered.inc(self.delivered - exported)
            exported = self.delivered
            subscribers.set(count_subscribers())
            channels.set(count_channels())

        with self._telemetry.on_collect(sample):
            yield
