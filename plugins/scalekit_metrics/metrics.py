"""Prometheus metrics of requests."""

from __future__ import annotations

from scalekit.telemetry import Alert, Counter, Gauge, Histogram

DURATION = "http_request_duration_seconds"
IN_FLIGHT = Gauge("http_requests_in_flight", "Requests in flight.")
REQUEST_BYTES = Counter("http_request_bytes", "Bytes of request bodies.", ("method", "route"))
RESPONSE_BYTES = Counter("http_response_bytes", "Bytes of response bodies.", ("method", "route"))
EXCEPTIONS = Counter(
    "http_exceptions",
    "Unhandled exceptions of the application.",
    ("method", "route", "exception"),
    alert=Alert(
        "Unhandled exceptions.",
        "The application raised an exception that nothing handles: clients receive 500. The log has its stack with the"
        " request id; the labels method, route and exception say where to look.",
    ),
)
WEBSOCKETS = Gauge("websocket_connections", "Open websocket connections.")

NAMES = frozenset(
    {DURATION, *(each.name for each in (IN_FLIGHT, REQUEST_BYTES, RESPONSE_BYTES, EXCEPTIONS, WEBSOCKETS))}
)
"""Reserved names, which metrics of prometheus_client may not have."""


def duration(buckets: tuple[float, ...]) -> Histogram:
    """Return the histogram of request durations, with the upper bounds *buckets* in seconds."""
    text = "Duration of requests, from the request head to the end of the response."
    return Histogram(DURATION, text, ("method", "route", "status"), buckets)
