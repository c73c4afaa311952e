"""Record each request when it has ended, and count open websockets."""

from __future__ import annotations

from asyncio import CancelledError

from scalekit import TRACEPARENT, Decision, Exchange, Filter, WebSocketExchange
from scalekit_metrics.request_metrics import LEFT, RequestMetrics

WITHOUT_BODY = frozenset({"GET", "HEAD"})


class RequestMetricsFilter(Filter):
    """Records into *recorder* what every request pays for: hence few steps."""

    def __init__(self, recorder: RequestMetrics, exemplars: bool) -> None:
        self.recorder = recorder
        self.exemplars = exemplars

    def on_request(self, exchange: Exchange) -> Decision:
        """Count it as in flight."""
        self.recorder.in_flight.value += 1
        return None

    def on_complete(self, exchange: Exchange, error: BaseException | None) -> None:
        """Count and time it."""
        recorder = self.recorder
        recorder.in_flight.value -= 1
        method, status = exchange.scope["method"], exchange.status
        if error is not None:
            if isinstance(error, Exception):
                recorder.count_exception(method, exchange.route, error)
            elif isinstance(error, CancelledError):
                status = status or LEFT
        outcome = recorder.outcome(method, exchange.route, status)
        outcome.sent.value += exchange.response_bytes
        if exchange.request_bytes and method not in WITHOUT_BODY:
            outcome.received.value += exchange.request_bytes
        if self.exemplars and TRACEPARENT in exchange.headers and exchange.trace_context.parent_id:
            outcome.observe_traced(exchange.seconds, exchange.trace_context)
        else:
            outcome.duration.observe(exchange.seconds)

    def on_open(self, exchange: WebSocketExchange) -> Decision:
        """Count it as open."""
        self.recorder.websockets.inc()
        return None

    def on_close(self, exchange: WebSocketExchange, error: BaseException | None) -> None:
        """Count it no longer, and count its exception."""
        self.recorder.websockets.dec()
        if isinstance(error, Exception):
            self.recorder.count_exception("GET", exchange.route, error)
