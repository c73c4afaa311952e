"""Prometheus metrics of CORS."""

from __future__ import annotations

from scalekit.telemetry import Counter, Telemetry

PREFLIGHTS = Counter("scalekit_cors_preflights", "Preflight requests, by whether they were allowed.", ("outcome",))


class PreflightMetrics:
    """Records the metrics of one application."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._allowed = telemetry.series(PREFLIGHTS, "allowed")
        self._rejected = telemetry.series(PREFLIGHTS, "rejected")

    def count(self, *, allowed: bool) -> None:
        """Count a preflight."""
        (self._allowed if allowed else self._rejected).inc()
