"""Prometheus metrics of tracing."""

from __future__ import annotations

from scalekit.telemetry import Alert, Counter, Telemetry
from scalekit_tracing.sampling import REASONS

KEPT = Counter("scalekit_tracing_kept_traces", "Traces that were kept, by reason.", ("reason",))
EXPORTED = Counter("scalekit_tracing_exported_spans", "Spans that the collector accepted.")
LOST = Counter(
    "scalekit_tracing_lost_spans",
    "Spans of kept traces that were lost, by reason.",
    ("reason",),
    alert=Alert(
        "Spans of kept traces are lost.",
        "Requests are not affected. By the label reason: the queue is full because the collector does not keep up or"
        " does not respond, the collector rejected them, or the process stopped before they were sent. See the health"
        " check of tracing for its error; lower sampling.max_traces_per_second, or raise max_queued_spans.",
    ),
)
FAILURES = Counter("scalekit_tracing_export_failures", "Requests to the collector that failed.")

REPORTED = Counter("scalekit_tracing_reported_errors", "Exceptions that the error server accepted.")
SUPPRESSED = Counter("scalekit_tracing_suppressed_errors", "Exceptions that equal a recent one or exceed the rate.")
LOST_ERRORS = Counter(
    "scalekit_tracing_lost_errors",
    "Reports of exceptions that were lost, by reason.",
    ("reason",),
    alert=Alert(
        "Reports of exceptions are lost.",
        "The exceptions are in the log. By the label reason: the error server does not respond, rejects them, or"
        " limits their rate. See the health check of tracing for its error, and check errors.dsn.",
    ),
)
ERROR_FAILURES = Counter("scalekit_tracing_error_failures", "Requests to the error server that failed.")

QUEUE_FULL, REJECTED, STOPPED = "queue full", "rejected", "process stopped"


class TracingMetrics:
    """Records the metrics of one application."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._exported = telemetry.series(EXPORTED)
        self._failures = telemetry.series(FAILURES)
        self._kept = {reason: telemetry.series(KEPT, reason) for reason in REASONS}

    def count_kept(self, reason: str) -> None:
        """Count a trace that is kept for *reason*, one of REASONS."""
        self._kept[reason].inc()

    def count_exported(self, spans: int) -> None:
        """Count spans that the collector accepted."""
        self._exported.inc(spans)

    def count_lost(self, reason: str, spans: int) -> None:
        """Count lost spans."""
        self._telemetry.series(LOST, reason).inc(spans)

    def count_failure(self) -> None:
        """Count a failed request to the collector."""
        self._failures.inc()


class ErrorMetrics:
    """Records the metrics of the reports of one application."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._reported = telemetry.series(REPORTED)
        self._suppressed = telemetry.series(SUPPRESSED)
        self._failures = telemetry.series(ERROR_FAILURES)

    def count_suppressed(self) -> None:
        """Count an exception that is not reported."""
        self._suppressed.inc()

    def count_exported(self, reports: int) -> None:
        """Count reports that the server accepted."""
        self._reported.inc(reports)

    def count_lost(self, reason: str, reports: int) -> None:
        """Count lost reports."""
        self._telemetry.series(LOST_ERRORS, reason).inc(reports)

    def count_failure(self) -> None:
        """Count a failed request to the server."""
        self._failures.inc()
