"""Metrics of requests: one cached set of series for each method, route and status."""

from __future__ import annotations

from bisect import bisect_left
from time import time

from scalekit.telemetry import CounterSeries, HistogramSeries, Telemetry
from scalekit_metrics.metrics import EXCEPTIONS, IN_FLIGHT, REQUEST_BYTES, RESPONSE_BYTES, WEBSOCKETS, duration

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
OTHER = "other"
UNMATCHED = "unmatched"
NO_RESPONSE = 500
"""Status of a request without a response from the application: the server then sends 500."""
CLIENT_CLOSED_REQUEST = 499
"""nginx's status of a request whose client disconnected, and which was cancelled before the response started."""
EXEMPLAR_INTERVAL = 1.0
"""Seconds after which the exemplar of a bucket is replaced."""


class RequestSeries:
    """The series of requests of one method, route and status."""

    __slots__ = ("duration", "request_bytes", "response_bytes")

    def __init__(self, duration: HistogramSeries, request_bytes: CounterSeries, response_bytes: CounterSeries) -> None:
        self.duration = duration
        self.request_bytes = request_bytes
        self.response_bytes = response_bytes

    def observe_traced(self, seconds: float, trace_id: str) -> None:
        """Record *seconds*, with *trace_id* as exemplar when the bucket has none or an old one."""
        exemplar = self.duration.exemplars.get(str(bisect_left(self.duration.bounds, seconds)))
        if exemplar is None or time() - exemplar[2] > EXEMPLAR_INTERVAL:
            self.duration.observe_traced(seconds, trace_id)
        else:
            self.duration.observe(seconds)


class RequestMetrics:
    """The series of requests by method, route template and status.

    Clients choose the method, so all non-standard methods share one label value.
    """

    def __init__(self, telemetry: Telemetry, buckets: tuple[float, ...]) -> None:
        self.in_flight = telemetry.series(IN_FLIGHT)
        self.websockets = telemetry.series(WEBSOCKETS)
        self._telemetry = telemetry
        self._duration = duration(buckets)
        self._cache: dict[tuple[str, str, int], RequestSeries] = {}

    def series(self, method: str, template: str, status: int) -> RequestSeries:
        """Return the series of requests with *method*, route *template* (empty: no route) and *status* (0: none)."""
        cached = self._cache.get((method, template, status))
        return self._create_series(method, template, status) if cached is None else cached

    def count_exception(self, method: str, template: str, error: Exception) -> None:
        """Count *error* by its class."""
        self._telemetry.series(EXCEPTIONS, _method_label(method), template or UNMATCHED, type(error).__name__).inc()

    def _create_series(self, method: str, template: str, status: int) -> RequestSeries:
        label, route = _method_label(method), template or UNMATCHED
        series = self._telemetry.series
        # A response to HEAD has no body, whatever the application writes.
        response_bytes = RESPONSE_BYTES.null_series() if method == "HEAD" else series(RESPONSE_BYTES, label, route)
        request_bytes = series(REQUEST_BYTES, label, route)
        durations = series(self._duration, label, route, str(status or NO_RESPONSE))
        created = RequestSeries(durations, request_bytes, response_bytes)
        # Beyond the budget all requests share one series, and the cache would grow without a bound.
        if method == label and len(self._cache) < self._telemetry.budget:
            self._cache[method, template, status] = created
        return created


def _method_label(method: str) -> str:
    return method if method in METHODS else OTHER
