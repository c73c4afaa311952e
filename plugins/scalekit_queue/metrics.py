"""Prometheus metrics of the queue."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from scalekit.telemetry import Alert, Counter, Gauge, GaugeSeries, Histogram, Telemetry

BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class ConsumeOutcome(StrEnum):
    """How a delivery was settled."""

    DONE = "done"
    DUPLICATE = "duplicate"
    RETRIED = "retried"
    DEAD_LETTERED = "dead_lettered"
    CANCELLED = "cancelled"
    REQUEUED = "requeued"
    UNSETTLED = "unsettled"


PUBLISHED = Counter("scalekit_queue_published", "Messages passed to publish.", ("name",))
CONFIRMED = Counter("scalekit_queue_confirmed", "Messages confirmed by the broker or committed to the file.", ("name",))
FAILED = Counter(
    "scalekit_queue_publish_failed",
    "Messages whose publishing was not confirmed.",
    ("name", "reason"),
    alert=Alert(
        "Publishing messages fails.",
        "Handlers that publish respond with errors, unless they use the outbox, which keeps messages until the"
        " broker accepts them. See the health check of the queue for its error: is the broker running, reachable, out"
        " of disk or memory, or the queue at its length limit?",
        severity="critical",
    ),
)
CONSUMED = Counter("scalekit_queue_consumed", "Deliveries that were settled.", ("name", "outcome"))
IN_FLIGHT = Gauge("scalekit_queue_in_flight", "Messages that handlers are processing.", ("name",))
AGE_SECONDS = Histogram(
    "scalekit_queue_message_age_seconds", "Age of a message when its handler starts.", ("name",), buckets=BUCKETS
)
HANDLER_SECONDS = Histogram(
    "scalekit_queue_handler_duration_seconds", "Duration of the handler.", ("name",), buckets=BUCKETS
)
RETRIES = Counter("scalekit_queue_retries", "Messages scheduled for another attempt.", ("name", "reason"))
DEAD_LETTERED = Counter(
    "scalekit_queue_dead_lettered",
    "Messages moved to the dead letters.",
    ("name", "reason"),
    alert=Alert(
        "Messages were moved to the dead letters.",
        "Their handler failed after all retries, or refused them. Read bodies and errors with `scalekit queue dead`,"
        " mend the handler, and send them again with `scalekit queue replay`.",
    ),
)
OUTBOX_LAG = Gauge(
    "scalekit_queue_outbox_lag_seconds",
    "Age of the oldest message in the outbox.",
    multiprocess_mode="max",
    alert=Alert(
        "Messages stay in the outbox for more than a minute.",
        "They are safe in the database and are published late. Either the broker does not accept them, which the"
        " alert on publishing shows too, or no process runs the relay: one with the plugin queue and the database"
        " must be up.",
        threshold=60,
    ),
)
OUTBOX_RELAYED = Counter("scalekit_queue_outbox_relayed", "Messages published from the outbox.")
RECONNECTS = Counter("scalekit_queue_reconnects", "Connections to RabbitMQ that failed or were lost.", ("connection",))
PAUSED = Gauge(
    "scalekit_queue_paused", "1 while an operator has paused the consumer.", ("name",), multiprocess_mode="max"
)
TICKS = Counter(
    "scalekit_queue_ticks",
    "Ticks of schedules: published, or dropped because they overlapped with the run before.",
    ("schedule", "outcome"),
)
TICKS_MISSED = Counter(
    "scalekit_queue_ticks_missed",
    "Ticks of schedules that were dropped because no process published them in time.",
    ("schedule",),
    alert=Alert(
        "Ticks of a schedule were missed.",
        "No process with consumers was running when they were due, or the database did not accept writes. The policy"
        " `missed` says what happened with them; run the schedule by hand with `scalekit queue schedules trigger`.",
        duration="0s",
    ),
)
TICKS_FAILED = Counter(
    "scalekit_queue_ticks_failed",
    "Ticks of schedules whose handler failed after all retries.",
    ("schedule",),
    alert=Alert(
        "A run of a schedule failed.",
        "Its message is a dead letter: read the error with `scalekit queue dead`, mend the handler, and run it again"
        " with `scalekit queue replay`. The schedule continues with its next tick.",
        duration="0s",
    ),
)
TICK_OVERDUE = Gauge(
    "scalekit_queue_tick_overdue_seconds",
    "How long the next tick of a schedule has been due without being published.",
    ("schedule",),
    multiprocess_mode="max",
    alert=Alert(
        "A tick of a schedule is more than a minute late.",
        "Either the database, or the file of the queue, does not accept writes, or the run before has not ended and"
        ' the policy is `overlap = "queue"`: see `scalekit queue schedules`.',
        threshold=60,
    ),
)
CONSUMER_METRICS = (CONSUMED, IN_FLIGHT, PAUSED, AGE_SECONDS, HANDLER_SECONDS, RETRIES, DEAD_LETTERED)
"""Metrics that only a process with consumers records."""
SCHEDULE_METRICS = (TICKS, TICKS_MISSED, TICKS_FAILED, TICK_OVERDUE)
"""Metrics that only a service with schedules records."""


class PublishMetrics:
    """Records publishing, the outbox relay and reconnections."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self.reconnects = {role: telemetry.series(RECONNECTS, role) for role in ("publisher", "consumer")}
        self.outbox_lag = telemetry.series(OUTBOX_LAG)
        self.relayed = telemetry.series(OUTBOX_RELAYED)

    def published(self, name: str, count: int) -> None:
        """Count messages passed to publish."""
        self._telemetry.series(PUBLISHED, name).inc(count)

    def confirmed(self, name: str, count: int) -> None:
        """Count confirmed messages."""
        self._telemetry.series(CONFIRMED, name).inc(count)

    def failed(self, name: str, maybe_sent: bool) -> None:
        """Count a message that was not confirmed."""
        self._telemetry.series(FAILED, name, "unconfirmed" if maybe_sent else "not_sent").inc()


class ConsumerMetrics:
    """Records the deliveries of the consumer named *name*."""

    def __init__(self, telemetry: Telemetry, name: str) -> None:
        self._telemetry = telemetry
        self._name = name
        self._outcomes = {outcome: telemetry.series(CONSUMED, name, outcome.value) for outcome in ConsumeOutcome}
        self.in_flight = telemetry.series(IN_FLIGHT, name)
        self.paused = telemetry.series(PAUSED, name)
        self.age = telemetry.series(AGE_SECONDS, name)
        self.duration = telemetry.series(HANDLER_SECONDS, name)

    def consumed(self, outcome: ConsumeOutcome) -> None:
        """Count a delivery by *outcome*."""
        self._outcomes[outcome].inc()

    def retried(self, reason: str) -> None:
        """Count a message scheduled for another attempt."""
        self._telemetry.series(RETRIES, self._name, reason).inc()

    def dead_lettered(self, reason: str) -> None:
        """Count a message moved to the dead letters."""
        self._telemetry.series(DEAD_LETTERED, self._name, reason).inc()


class ScheduleMetrics:
    """Records the ticks of *schedules*; counters begin at zero, so that rates show the first increase."""

    def __init__(self, telemetry: Telemetry, schedules: Iterable[str]) -> None:
        self._telemetry = telemetry
        for schedule in schedules:
            telemetry.series(TICKS_MISSED, schedule)
            telemetry.series(TICKS_FAILED, schedule)

    def overdue(self, schedule: str) -> GaugeSeries:
        """Return the series of the time for which the next tick of *schedule* has been due."""
        return self._telemetry.series(TICK_OVERDUE, schedule)

    def published(self, schedule: str, count: int) -> None:
        """Count published ticks."""
        self._telemetry.series(TICKS, schedule, "published").inc(count)

    def missed(self, schedule: str, count: int) -> None:
        """Count ticks that were dropped because they were missed."""
        self._telemetry.series(TICKS_MISSED, schedule).inc(count)

    def overlapped(self, schedule: str, count: int) -> None:
        """Count ticks that were dropped because the run before had not ended."""
        self._telemetry.series(TICKS, schedule, "overlapped").inc(count)

    def failed(self, schedule: str) -> None:
        """Count a tick whose handler failed after all retries."""
        self._telemetry.series(TICKS_FAILED, schedule).inc()
