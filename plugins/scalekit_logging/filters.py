"""Write an access line for each request and websocket, and attach its ids to log lines."""

from __future__ import annotations

from asyncio import CancelledError
from time import time
from typing import Any

from scalekit import REQUEST_ID, TRACE_CONTEXT, Exchange, Filter, WebSocketExchange
from scalekit_logging import tail_sampling
from scalekit_logging.pipeline import LogPipeline
from scalekit_logging.stdlib_bridge import exception_text, mark_logged
from scalekit_logging.structlog_import import structlog
from scalekit_logging.tail_sampling import TailBuffer

CLIENT_LEFT = 499
"""The status, nginx's, of a request whose client did not wait for the answer."""
USER_AGENT = b"user-agent"
_LENGTH = len(REQUEST_ID)
_INITIALS = b"xX"


class AccessLogFilter(Filter):
    """Serves requests under their identity, names it in the response, and writes to *pipeline* how each one ended."""

    request_headers = (USER_AGENT,)

    def __init__(self, pipeline: LogPipeline) -> None:
        self.pipeline = pipeline
        self._tails: dict[Exchange, TailBuffer] = {}

    def on_application(self, exchange: Exchange) -> None:
        """Let every line that is logged from here on show the identity, and keep details if they may be wanted."""
        if TRACE_CONTEXT.get() is not None:  # within another request, whose fields are not this one's
            structlog.contextvars.clear_contextvars()
        exchange.set_context(TRACE_CONTEXT, exchange.trace_context)
        if self.pipeline.tails is not None:
            kept = self._tails[exchange] = self.pipeline.tails.open()
            exchange.set_context(tail_sampling.CURRENT, kept)

    def on_response_start(self, exchange: Exchange) -> None:
        """Name the request in the response exactly once."""
        headers = exchange.response_headers
        for name, _ in headers:
            if len(name) == _LENGTH and name[0] in _INITIALS and name.lower() == REQUEST_ID:
                headers[:] = [field for field in headers if field[0].lower() != REQUEST_ID]
                break
        headers.append((REQUEST_ID, exchange.trace_context.request_id.encode()))

    def on_complete(self, exchange: Exchange, error: BaseException | None) -> None:
        """Write the line of a request; of what is here, every request pays for the first lines."""
        pipeline = self.pipeline
        if error is not None or not exchange.status or pipeline.tails is not None:
            self._end(exchange, error)
            return
        status = CLIENT_LEFT if exchange.disconnected_early else exchange.status
        if status < pipeline.least_status:
            return
        scope, identity = exchange.scope, exchange.trace_context
        client = scope.get("client")
        ending = (
            time(),
            identity.request_id,
            identity.trace_id,
            scope["method"],
            exchange.path,
            exchange.route,
            status,
            exchange.seconds,
            exchange.response_bytes,
            client[0] if client else "",
            exchange.headers.get(USER_AGENT, b""),
            identity.calls,
        )
        pipeline.write_access(ending)

    def on_close(self, exchange: WebSocketExchange, error: BaseException | None) -> None:
        """Write the line of a websocket."""
        self._end(exchange, error)

    def _end(self, exchange: Exchange, error: BaseException | None) -> None:
        """Write how *exchange* ended, and what was kept of it if anybody will want to know."""
        pipeline = self.pipeline
        failed = _fails(exchange, error)
        status = self._status(exchange, error, failed)
        revealed = self._close_tail(exchange, failed or status >= 500)
        if error is not None:
            mark_logged(error)
        if failed:
            pipeline.failure(_event(exchange), _fields(exchange, status, error), exchange.trace_context)
        elif status >= pipeline.least_status or (revealed and pipeline.config.access):
            pipeline.ending(_event(exchange), _fields(exchange, status), exchange.trace_context, status)

    def _status(self, exchange: Exchange, error: BaseException | None, failed: bool) -> int:
        """Return what was answered: by the server or the host, where the application did not."""
        if exchange.status:
            return CLIENT_LEFT if exchange.disconnected_early else exchange.status
        if exchange.disconnected and not failed:
            return CLIENT_LEFT
        if isinstance(error, CancelledError):
            return 503 if self.pipeline.draining else CLIENT_LEFT
        return 500

    def _close_tail(self, exchange: Exchange, failed: bool) -> bool:
        """Write what was kept of a request that failed or was slow, and tell whether it did."""
        kept, tails = self._tails.pop(exchange, None), self.pipeline.tails
        if kept is None or tails is None:
            return False
        slow = not isinstance(exchange, WebSocketExchange) and exchange.seconds > tails.slow_threshold
        if failed or slow:
            self.pipeline.reveal(kept, exchange.trace_context)
        else:
            kept.close()
        return failed or slow


def _fields(exchange: Exchange, status: int, error: BaseException | None = None) -> dict[str, Any]:
    scope = exchange.scope
    client = scope.get("client")
    fields: dict[str, Any] = {
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
    return fields if error is None else {**fields, "exception": exception_text(error)}


def _fails(exchange: Exchange, error: BaseException | None) -> bool:
    """Tell whether *error* is a mistake, and not only the news that the client left or the request was cut."""
    if error is None or isinstance(error, CancelledError):
        return False
    return not (exchange.disconnected and (isinstance(error, OSError) or "Disconnect" in type(error).__name__))


def _event(exchange: Exchange) -> str:
    return "websocket" if isinstance(exchange, WebSocketExchange) else "request"
