"""Write an access log line for each request and websocket, and attach its ids to log lines."""

from __future__ import annotations

from asyncio import CancelledError
from time import time

from scalekit import REQUEST_ID, TRACE_CONTEXT, Exchange, Filter, HeaderNames, WebSocketExchange
from scalekit.telemetry import CURRENT_SPAN
from scalekit_logging import tail_sampling
from scalekit_logging.pipeline import LogPipeline
from scalekit_logging.stdlib_bridge import format_exception, mark_logged
from scalekit_logging.structlog_import import structlog
from scalekit_logging.tail_sampling import TailBuffer

CLIENT_CLOSED_REQUEST = 499
"""nginx's status of a request whose client disconnected before the response started."""
USER_AGENT = b"user-agent"
_REQUEST_IDS = HeaderNames({REQUEST_ID}.__contains__)


class AccessLogFilter(Filter):
    """Sets the trace context, adds ``X-Request-ID`` to responses and writes access log lines to *pipeline*."""

    request_headers = (USER_AGENT,)

    def __init__(self, pipeline: LogPipeline) -> None:
        self.pipeline = pipeline
        self._tails: dict[Exchange, TailBuffer] = {}

    def on_application(self, exchange: Exchange) -> None:
        """Set the trace context and the tail buffer for log lines of the application."""
        if TRACE_CONTEXT.get() is not None:  # inherited from another request, whose fields must not leak
            structlog.contextvars.clear_contextvars()
        exchange.set_context(TRACE_CONTEXT, exchange.trace_context)
        if self.pipeline.tail_sampler is not None:
            tail = self._tails[exchange] = self.pipeline.tail_sampler.create_buffer()
            exchange.set_context(tail_sampling.CURRENT, tail)

    def on_response_start(self, exchange: Exchange) -> None:
        """Add ``X-Request-ID``, replacing any that the application set."""
        headers = exchange.current_headers
        for name, _ in headers:
            if _REQUEST_IDS[name]:
                headers = [field for field in headers if not _REQUEST_IDS[field[0]]]
                break
        exchange.current_headers = [*headers, (REQUEST_ID, exchange.trace_context.request_id.encode())]

    def on_complete(self, exchange: Exchange, error: BaseException | None) -> None:
        """Write the line of a request; this is the fast path of successful requests."""
        pipeline = self.pipeline
        if error is not None or not exchange.status or pipeline.tail_sampler is not None:
            self._log_end(exchange, error)
            return
        status = CLIENT_CLOSED_REQUEST if exchange.disconnected_early else exchange.status
        if status < pipeline.min_status:
            return
        scope, trace = exchange.scope, exchange.trace_context
        client = scope.get("client")
        record = (
            time(),
            trace.request_id,
            trace.trace_id,
            scope["method"],
            exchange.path,
            exchange.route,
            status,
            exchange.seconds,
            exchange.response_bytes,
            client[0] if client else "",
            exchange.headers.get(USER_AGENT, b""),
            trace.calls,
            "" if exchange.span is None else exchange.span.span_id,
        )
        pipeline.write_access(record)

    def on_close(self, exchange: WebSocketExchange, error: BaseException | None) -> None:
        """Write the line of a websocket."""
        self._log_end(exchange, error)

    def _log_end(self, exchange: Exchange, error: BaseException | None) -> None:
        """Write the access line, with the span of the request, which is current only while the application runs."""
        token = CURRENT_SPAN.set(exchange.span)
        try:
            self._write_end(exchange, error)
        finally:
            CURRENT_SPAN.reset(token)

    def _write_end(self, exchange: Exchange, error: BaseException | None) -> None:
        """Write the access line, after the buffered lines when the request failed or was slow."""
        pipeline = self.pipeline
        failed = _is_failure(exchange, error)
        status = self._status(exchange, error, failed)
        sampled = self._close_tail(exchange, failed or status >= 500)
        if error is not None:
            mark_logged(error)
        if failed:
            pipeline.log_failure(_event(exchange), _fields(exchange, status, error), exchange.trace_context)
        elif status >= pipeline.min_status or (sampled and pipeline.config.access):
            pipeline.log_end(_event(exchange), _fields(exchange, status), exchange.trace_context, status)

    def _status(self, exchange: Exchange, error: BaseException | None, failed: bool) -> int:
        """Return the status that was sent, or the one that the host or the server sends instead."""
        if exchange.status:
            return CLIENT_CLOSED_REQUEST if exchange.disconnected_early else exchange.status
        if exchange.disconnected and not failed:
            return CLIENT_CLOSED_REQUEST
        if isinstance(error, CancelledError):
            return 503 if self.pipeline.draining else CLIENT_CLOSED_REQUEST
        return 500

    def _close_tail(self, exchange: Exchange, failed: bool) -> bool:
        """Write the buffered lines of a request that failed or was slow; return whether they were written."""
        tail, sampler = self._tails.pop(exchange, None), self.pipeline.tail_sampler
        if tail is None or sampler is None:
            return False
        slow = not isinstance(exchange, WebSocketExchange) and exchange.seconds > sampler.slow_threshold
        if failed or slow:
            self.pipeline.write_tail(tail, exchange.trace_context)
        else:
            tail.close()
        return failed or slow


def _fields(exchange: Exchange, status: int, error: BaseException | None = None) -> dict[str, object]:
    scope = exchange.scope
    client = scope.get("client")
    fields: dict[str, object] = {
        "method": scope.get("method", "GET"),
        "path": exchange.path,
        "route": exchange.route,
        "status": status,
        "duration_ms": round(exchange.seconds * 1000, 3),
        "bytes": exchange.response_bytes,
        "client": client[0] if client else "",
        "user_agent": exchange.headers.get(USER_AGENT, b"").decode("latin-1"),
    }
    if exchange.trace_context.calls:
        fields["calls"] = exchange.trace_context.calls
    if isinstance(exchange, WebSocketExchange):
        fields["code"] = exchange.code
    return fields if error is None else {**fields, "exception": format_exception(error)}


def _is_failure(exchange: Exchange, error: BaseException | None) -> bool:
    """Return whether *error* is a fault of the application, not a cancellation or a client disconnect."""
    if error is None or isinstance(error, CancelledError):
        return False
    return not (exchange.disconnected and (isinstance(error, OSError) or "Disconnect" in type(error).__name__))


def _event(exchange: Exchange) -> str:
    return "websocket" if isinstance(exchange, WebSocketExchange) else "request"
