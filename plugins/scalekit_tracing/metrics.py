"""Prometheus metrics of tracing."""

from __future__ import annotations

from scalekit.telemetry import Alert, Counter, Telemetry

KEPT = Counter("scalekit_tracing_kept_traces", "Traces that were kept, by reason.", ("reason",))
EXPORTED = Counter("scalekit_tracing_exported_spans", "Spans that the collector accepted.")
LOST = Counter(
    "scalekit_tracing_lost_spans",
    "Spans of kept traces that were lost, by reason.",
    ("reason",),
    alert=Alert("Spans of kept traces are lost."),
)
FAILURES = Counter("scalekit_tracing_export_failures", "Requests to the collector that failed.")

QUEUE_FULL, REJECTED, STOPPED = "queue full", "rejected", "process stopped"


class TracingMetrics:
    """Records the metrics of one application."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._exported = telemetry.series(EXPORTED)
        self._failures = telemetry.series(FAILURES)

    def count_kept(self, reason: str) -> None:
        """Count a kept trace."""
        self._telemetry.series(KEPT, reason).inc()

    def count_exported(self, spans: int) -> None:
        """Count spans that the collector accepted."""
        self._exported.inc(spans)

    def count_lost(self, reason: str, spans: int) -> None:
        """Count lost spans."""
        self._telemetry.series(LOST, reason).inc(spans)

    def count_failure(self) -> None:
        """Count a failed request to the collector."""
        self._failures.inc()
