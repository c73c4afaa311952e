"""Prometheus metrics of idempotent requests."""

from __future__ import annotations

from enum import StrEnum

from scalekit.telemetry import Alert, Counter, Gauge, Share, Telemetry


class Outcome(StrEnum):
    """The outcome of a request with a key, or without the required one."""

    EXECUTED = "executed"
    """Executed, and its response stored."""
    UNSTORED = "unstored"
    """Executed, but the response is a stream or too large: repetitions get 409."""
    FAILED = "failed"
    """Rolled back: the application failed, or its status is not stored."""
    REPLAYED = "replayed"
    """Answered by the stored response."""
    CONFLICT = "conflict"
    """Refused with 409: the first request with the key runs."""
    MISMATCH = "mismatch"
    """Refused with 422: the key belongs to another request."""
    INVALID = "invalid"
    """Refused with 400 or 413: no key where one is required, an invalid one, or a body that is too large."""


REQUESTS = Counter(
    "scalekit_idempotency_requests",
    "Requests with an Idempotency-Key, or without the required one, by outcome.",
    ("outcome",),
    share=Share("Replayed requests", ("replayed",)),
)
ERRORS = Counter(
    "scalekit_idempotency_errors",
    "Requests with a key that failed because of the store, and failed clean-ups.",
    alert=Alert(
        "Idempotency keys cannot be claimed or stored.",
        "Requests with a key get 503 while the store is unavailable. Restore the database or Redis of"
        " plugins.idempotency; clients may repeat the requests with the same key.",
    ),
)
KEYS = Gauge("scalekit_idempotency_keys", "Stored responses at the last clean-up.", multiprocess_mode="max")


class IdempotencyMetrics:
    """Records the metrics of one application."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._requests = {outcome: telemetry.series(REQUESTS, outcome.value) for outcome in Outcome}
        self._errors = telemetry.series(ERRORS)
        self._keys = telemetry.series(KEYS)

    def count(self, outcome: Outcome) -> None:
        """Count a request with *outcome*."""
        self._requests[outcome].inc()

    def count_error(self) -> None:
        """Count a failure of the store."""
        self._errors.inc()

    def set_keys(self, count: int) -> None:
        """Set the number of stored responses."""
        self._keys.set(count)
