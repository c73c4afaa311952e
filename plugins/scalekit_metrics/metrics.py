"""Prometheus metrics of requests."""

from __future__ import annotations

from scalekit.telemetry import Alert, Counter, Gauge, Histogram

DURATION = "http_request_duration_seconds"
IN_FLIGHT = Gauge("http_requests_in_flight", "Requests in flight.")
REQUEST_BYTES = Counter("http_request_bytes", "Bytes of request bodies that were read.", ("method", "route"))
RESPONSE_BYTES = Counter("http_response_bytes", "Bytes of response bodies that were sent.", ("method", "route"))
EXCEPTIONS = Counter(
    "http_exceptions",
    "Unhandled exceptions of the application.",
    ("method", "route", "exception"),
    alert=Alert("Unhandled exceptions."),
)
WEBSOCKETS = Gauge("websocket_connections", "Open websocket connections.")

NAMES = frozenset(
    {DURATION, *(each.name for each in (IN_FLIGHT, REQUEST_BYTES, RESPONSE_BYTES, EXCEPTIONS, WEBSOCKETS))}
)
"""The names that no other part of the service may give to its own metrics."""


def duration(buckets: tuple[float, ...]) -> Histogram:
    """Return the histogram of how long requests take, with the upper bounds *buckets* in seconds."""
    text = "Time from the head of the request to the end of the response."
    return Histogram(DURATION, text, ("method", "route", "status"), buckets)
