"""Series of each method, route and status, cached so that labels are built once."""

from __future__ import annotations

from bisect import bisect_left
from time import time

from scalekit import TraceContext
from scalekit.telemetry import CounterSeries, HistogramSeries, Telemetry
from scalekit_metrics.metrics import EXCEPTIONS, IN_FLIGHT, REQUEST_BYTES, RESPONSE_BYTES, WEBSOCKETS, duration

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
OTHER = "other"
UNMATCHED = "unmatched"
FAILED = 500
"""The status of a request that nothing answered, since the server then says so."""
LEFT = 499
"""The status of a request that was cancelled before it was answered: nginx's, for a client that did not wait."""
EXAMPLE_AGE = 1.0
"""Seconds after which the example of a bucket makes room for another."""


class RequestSeries:
    """The series in which requests of one method, route and status are recorded."""

    __slots__ = ("duration", "received", "sent")

    def __init__(self, duration: HistogramSeries, received: CounterSeries, sent: CounterSeries) -> None:
        self.duration = duration
        self.received = received
        self.sent = sent

    def observe_traced(self, seconds: float, identity: TraceContext) -> None:
        """Record *seconds*, with the trace as an example where its bucket has none, or an old one."""
        example = self.duration.exemplars.get(str(bisect_left(self.duration.bounds, seconds)))
        if identity.parent_id and (example is None or time() - example[2] > EXAMPLE_AGE):
            self.duration.observe_traced(seconds, identity.trace_id)
        else:
            self.duration.observe(seconds)


class RequestMetrics:
    """The series of requests, by method, template of the route and status.

    A client chooses its method, so those without a standard are one; routes and statuses are the application's.
    """

    def __init__(self, telemetry: Telemetry, buckets: tuple[float, ...]) -> None:
        self.in_flight = telemetry.series(IN_FLIGHT)
        self.websockets = telemetry.series(WEBSOCKETS)
        self._telemetry = telemetry
        self._duration = duration(buckets)
        self._outcomes: dict[tuple[str, str, int], RequestSeries] = {}

    def outcome(self, method: str, template: str, status: int) -> RequestSeries:
        """Return the series of requests that ended so.

        An empty *template* means that no route served them, and the *status* 0 that nothing was answered.
        """
        found = self._outcomes.get((method, template, status))
        return self._bind(method, template, status) if found is None else found

    def count_exception(self, method: str, template: str, error: Exception) -> None:
        """Count *error*, by its class."""
        self._telemetry.series(EXCEPTIONS, _method(method), template or UNMATCHED, type(error).__name__).inc()

    def _bind(self, method: str, template: str, status: int) -> RequestSeries:
        label, route = _method(method), template or UNMATCHED
        series = self._telemetry.series
        # An answer to HEAD has no body, whatever the application writes.
        sent = RESPONSE_BYTES.null_series() if method == "HEAD" else series(RESPONSE_BYTES, label, route)
        received = series(REQUEST_BYTES, label, route)
        outcome = RequestSeries(series(self._duration, label, route, str(status or FAILED)), received, sent)
        # Beyond the budget all share one series, and a table of them would have no bound.
        if method == label and len(self._outcomes) < self._telemetry.budget:
            self._outcomes[method, template, status] = outcome
        return outcome


def _method(method: str) -> str:
    return method if method in METHODS else OTHER
