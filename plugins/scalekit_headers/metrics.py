"""Prometheus metrics of the protection against CSRF."""

from __future__ import annotations

from scalekit.telemetry import Counter, Telemetry

REJECTED = Counter("scalekit_headers_csrf_rejected", "Requests of other sites that were rejected (403).")


class CsrfMetrics:
    """Records the metrics of one application."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._rejected = telemetry.series(REJECTED)

    def count(self) -> None:
        """Count a rejected request."""
        self._rejected.inc()
