"""What is counted."""

from __future__ import annotations

from enum import StrEnum

from scalekit.telemetry import Alert, Counter, Gauge, Histogram, Telemetry

BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class ConsumeOutcome(StrEnum):
    """What became of a message that was consumed."""

    DONE = "done"
    DUPLICATE = "duplicate"
    RETRIED = "retried"
    DEAD = "dead"
    RELEASED = "released"
    UNSETTLED = "unsettled"


PUBLISHED = Counter("scalekit_queue_published", "Messages that were to be published.", ("name",))
CONFIRMED = Counter("scalekit_queue_confirmed", "Messages that are safe.", ("name",))
FAILED = Counter(
    "scalekit_queue_publish_failed",
    "Messages that are not known to be safe.",
    ("name", "sent"),
    alert=Alert("Messages cannot be published.", severity="critical"),
)
CONSUMED = Counter("scalekit_queue_consumed", "Messages that were consumed.", ("name", "outcome"))
IN_PROCESS = Gauge("scalekit_queue_in_process", "Messages that handlers work on.", ("name",))
AGE_SECONDS = Histogram(
    "scalekit_queue_age_seconds", "Age of messages when a handler begins.", ("name",), buckets=BUCKETS
)
SECONDS = Histogram("scalekit_queue_seconds", "Time that handlers took.", ("name",), buckets=BUCKETS)
RETRIES = Counter("scalekit_queue_retries", "Messages that are tried again.", ("name", "why"))
DEAD = Counter(
    "scalekit_queue_dead",
    "Messages that became dead letters.",
    ("name", "why"),
    alert=Alert("Messages became dead letters; look at `scalekit queue dead`."),
)
OUTBOX_LAG = Gauge(
    "scalekit_queue_outbox_lag_seconds",
    "Age of the oldest message in the outbox.",
    multiprocess_mode="max",
    alert=Alert("The outbox does not get empty.", bound=60),
)
OUTBOX_RELAYED = Counter("scalekit_queue_outbox_relayed", "Messages that went from the outbox into the queue.")
RECONNECTS = Counter("scalekit_queue_reconnects", "Connections to the broker that were lost.", ("purpose",))
OF_CONSUMERS = (CONSUMED, IN_PROCESS, AGE_SECONDS, SECONDS, RETRIES, DEAD)
"""What there is only where something consumes."""


class PublishMetrics:
    """The numbers of all that is published."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self.reconnects = {purpose: telemetry.series(RECONNECTS, purpose) for purpose in ("publishing", "consuming")}
        self.outbox_lag = telemetry.series(OUTBOX_LAG)
        self.relayed = telemetry.series(OUTBOX_RELAYED)

    def published(self, name: str, count: int) -> None:
        """Count messages that are to be published."""
        self._telemetry.series(PUBLISHED, name).inc(count)

    def confirmed(self, name: str, count: int) -> None:
        """Count messages that are safe."""
        self._telemetry.series(CONFIRMED, name).inc(count)

    def failed(self, name: str, maybe_sent: bool) -> None:
        """Count a message that is not known to be safe."""
        self._telemetry.series(FAILED, name, "maybe" if maybe_sent else "no").inc()


class ConsumerMetrics:
    """The numbers of the consumer *name*."""

    def __init__(self, telemetry: Telemetry, name: str) -> None:
        self._telemetry = telemetry
        self._name = name
        self._outcomes = {outcome: telemetry.series(CONSUMED, name, outcome.value) for outcome in ConsumeOutcome}
        self.in_process = telemetry.series(IN_PROCESS, name)
        self.age = telemetry.series(AGE_SECONDS, name)
        self.seconds = telemetry.series(SECONDS, name)

    def consumed(self, outcome: ConsumeOutcome) -> None:
        """Count a message that was consumed."""
        self._outcomes[outcome].inc()

    def retried(self, why: str) -> None:
        """Count a message that is tried again."""
        self._telemetry.series(RETRIES, self._name, why).inc()

    def buried(self, why: str) -> None:
        """Count a message that became a dead letter."""
        self._telemetry.series(DEAD, self._name, why).inc()
