"""What is counted."""

from __future__ import annotations

from enum import StrEnum

from scalekit.telemetry import Alert, Counter, Gauge, Histogram, Telemetry


class Cause(StrEnum):
    """Why a read went to the primary."""

    WROTE = "wrote"
    """The request that reads has written before."""
    RECENT = "recent"
    """The client has written within ``sticky``, and no position is known."""
    BEHIND = "behind"
    """No replica had what the client has written, within ``wait``."""
    NONE = "none"
    """No replica may be read from."""
    FAILED = "failed"
    """A replica failed while it was read from."""
    STATEMENT = "statement"
    """The statement is not known to only read."""
    UNKNOWN = "unknown"
    """Nobody knows what has been written before: no request or message is served."""


READS = Counter("scalekit_replica_reads", "Reads that a replica answered.", ("replica",))
FALLBACKS = Counter("scalekit_replica_fallbacks", "Reads that went to the primary.", ("cause",))
EJECTIONS = Counter("scalekit_replica_ejections", "Times that a replica was taken out because it failed.", ("replica",))
ABANDONED = Counter("scalekit_replica_abandoned", "Reads that were taken from a replica that failed.", ("replica",))
TOKENS = Counter("scalekit_replica_tokens", "Tokens that were issued or came in.", ("what",))
WAIT_SECONDS = Histogram(
    "scalekit_replica_wait_seconds",
    "Time that reads waited for a replica to have what their client has written.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0),
)
UP = Gauge(
    "scalekit_replica_up",
    "Whether the replica may be read from.",
    ("replica",),
    multiprocess_mode="min",
    alert=Alert("A replica is not read from.", beyond="<", bound=1),
)
LAG_SECONDS = Gauge(
    "scalekit_replica_lag_seconds",
    "How far it is behind in time, at most.",
    ("replica",),
    multiprocess_mode="max",
    alert=Alert("A replica is far behind.", bound=30),
)
LAG_BYTES = Gauge("scalekit_replica_lag_bytes", "How far it is behind.", ("replica",), multiprocess_mode="max")


class Metrics:
    """The numbers of all replicas together."""

    def __init__(self, telemetry: Telemetry) -> None:
        self.telemetry = telemetry
        self.waits = telemetry.series(WAIT_SECONDS)
        self._fallbacks = {cause: telemetry.series(FALLBACKS, cause.value) for cause in Cause}
        self._tokens = {what: telemetry.series(TOKENS, what) for what in ("issued", "read", "refused", "expired")}

    def fell_back(self, cause: Cause) -> None:
        """Count a read that went to the primary."""
        self._fallbacks[cause].inc()

    def token(self, what: str) -> None:
        """Count a token that was *what*."""
        self._tokens[what].inc()


class ReplicaMetrics:
    """The numbers of the replica *name*."""

    def __init__(self, telemetry: Telemetry, name: str) -> None:
        self.reads = telemetry.series(READS, name)
        self.ejections = telemetry.series(EJECTIONS, name)
        self.abandoned = telemetry.series(ABANDONED, name)
        self.up = telemetry.series(UP, name)
        self.lag_seconds = telemetry.series(LAG_SECONDS, name)
        self.lag_bytes = telemetry.series(LAG_BYTES, name)
