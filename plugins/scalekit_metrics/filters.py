"""Record the metrics of each request when it ends, and count open websockets."""

from __future__ import annotations

from asyncio import CancelledError

from scalekit import TRACEPARENT, Decision, Exchange, Filter, WebSocketExchange
from scalekit_metrics.request_metrics import CLIENT_CLOSED_REQUEST, RequestMetrics

WITHOUT_BODY = frozenset({"GET", "HEAD"})


class RequestMetricsFilter(Filter):
    """Records every request and websocket in *metrics*."""

    def __init__(self, metrics: RequestMetrics, exemplars: bool) -> None:
        self.metrics = metrics
        self.exemplars = exemplars

    def on_request(self, exchange: Exchange) -> Decision:
        """Count the request as in flight."""
        self.metrics.in_flight.value += 1
        return None

    def on_complete(self, exchange: Exchange, error: BaseException | None) -> None:
        """Record duration, bytes, status and exception of the request."""
        metrics = self.metrics
        metrics.in_flight.value -= 1
        method, status = exchange.scope["method"], exchange.status
        if error is not None:
            if isinstance(error, Exception):
                metrics.count_exception(method, exchange.route, error)
            elif isinstance(error, CancelledError):
                status = status or CLIENT_CLOSED_REQUEST
        series = metrics.series(method, exchange.route, status)
        series.response_bytes.value += exchange.response_bytes
        if exchange.request_bytes and method not in WITHOUT_BODY:
            series.request_bytes.value += exchange.request_bytes
        if self.exemplars and _has_trace(exchange):
            series.observe_traced(exchange.seconds, exchange.trace_context.trace_id)
        else:
            series.duration.observe(exchange.seconds)

    def on_open(self, exchange: WebSocketExchange) -> Decision:
        """Count the websocket as open."""
        self.metrics.websockets.inc()
        return None

    def on_close(self, exchange: WebSocketExchange, error: BaseException | None) -> None:
        """Count the websocket as closed, and its exception."""
        self.metrics.websockets.dec()
        if isinstance(error, Exception):
            self.metrics.count_exception("GET", exchange.route, error)


def _has_trace(exchange: Exchange) -> bool:
    """Return whether the trace of the request is kept, here or, when no spans are recorded here, by the client."""
    if exchange.span is not None:
        return exchange.span.trace.is_kept
    return TRACEPARENT in exchange.headers and bool(exchange.trace_context.parent_id)
