"""Prometheus metrics of replicas and read routing."""

from __future__ import annotations

from enum import StrEnum

from scalekit.telemetry import Alert, Counter, Gauge, Histogram, Telemetry


class FallbackReason(StrEnum):
    """Why a read went to the primary."""

    WROTE = "wrote"
    """The same request has written before."""
    RECENT_WRITE = "recent_write"
    """The client has written within ``primary_after_write``, and the LSN is unknown."""
    BEHIND = "behind"
    """No replica replayed the client's last write within ``replay_timeout``."""
    UNAVAILABLE = "unavailable"
    """No replica serves reads."""
    FAILED = "failed"
    """A replica failed during the read."""
    STATEMENT = "statement"
    """The statement is not known to be read-only."""
    UNKNOWN = "unknown"
    """Earlier writes are unknown, since no request or message is being handled."""


READS = Counter("scalekit_replica_reads", "Reads that a replica served.", ("replica",))
FALLBACKS = Counter("scalekit_replica_fallbacks", "Reads that went to the primary.", ("reason",))
EJECTIONS = Counter("scalekit_replica_ejections", "Ejections of a replica after a failure.", ("replica",))
ABORTED_READS = Counter("scalekit_replica_aborted_reads", "Reads aborted because their replica failed.", ("replica",))
TOKENS = Counter("scalekit_replica_tokens", "Consistency tokens issued and received.", ("outcome",))
WAIT_SECONDS = Histogram(
    "scalekit_replica_wait_seconds",
    "Time that reads waited for a replica to replay the client's last write.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0),
)
UP = Gauge(
    "scalekit_replica_up",
    "Whether the replica serves reads.",
    ("replica",),
    multiprocess_mode="min",
    alert=Alert(
        "A replica is excluded from reads.",
        "The other replicas and the primary serve its reads. It is down, unreachable, lags more than max_lag, or"
        " follows an older timeline: the health check of the replica says which. It returns by itself.",
        operator="<",
        threshold=1,
    ),
)
LAG_SECONDS = Gauge(
    "scalekit_replica_lag_seconds",
    "Upper bound of the replication lag in seconds.",
    ("replica",),
    multiprocess_mode="max",
    alert=Alert(
        "The replication lag is high.",
        "Reads of data that was just written go to the primary, whose load rises. Look for long transactions and"
        " conflicts on the replica, for a slow disk or network, and for bulk writes on the primary.",
        threshold=30,
    ),
)
LAG_BYTES = Gauge(
    "scalekit_replica_lag_bytes", "Replication lag in bytes of write-ahead log.", ("replica",), multiprocess_mode="max"
)


class RoutingMetrics:
    """The metrics of all replicas together."""

    def __init__(self, telemetry: Telemetry) -> None:
        self.telemetry = telemetry
        self.waits = telemetry.series(WAIT_SECONDS)
        self._fallbacks = {reason: telemetry.series(FALLBACKS, reason.value) for reason in FallbackReason}
        self._tokens = {
            outcome: telemetry.series(TOKENS, outcome) for outcome in ("issued", "accepted", "rejected", "expired")
        }

    def record_fallback(self, reason: FallbackReason) -> None:
        """Count a read that went to the primary."""
        self._fallbacks[reason].inc()

    def fallbacks(self) -> dict[str, float]:
        """Return the number of reads that went to the primary, by reason."""
        return {reason.value: series.value for reason, series in self._fallbacks.items()}

    def token(self, outcome: str) -> None:
        """Count a token by its *outcome*."""
        self._tokens[outcome].inc()


class ReplicaMetrics:
    """The metrics of the replica *name*."""

    def __init__(self, telemetry: Telemetry, name: str) -> None:
        self.reads = telemetry.series(READS, name)
        self.ejections = telemetry.series(EJECTIONS, name)
        self.aborted_reads = telemetry.series(ABORTED_READS, name)
        self.up = telemetry.series(UP, name)
        self.lag_seconds = telemetry.series(LAG_SECONDS, name)
        self.lag_bytes = telemetry.series(LAG_BYTES, name)
