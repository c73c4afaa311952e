"""Propagate trace context and deadline to outgoing calls and messages."""

from __future__ import annotations

from contextvars import ContextVar
from time import time

from scalekit.http.exchange import Exchange
from scalekit.http.filter import Filter
from scalekit.http.trace_context import TRACE_CONTEXT

DEADLINE: ContextVar[float | None] = ContextVar("scalekit.http.deadline", default=None)
"""The deadline of the current request in seconds since the epoch, or None. Outgoing calls and messages propagate it."""
TIMEOUT_HEADER = "x-request-timeout-ms"
"""The request header with the remaining timeout of the client in milliseconds."""

TIMEOUT_HEADER_BYTES = TIMEOUT_HEADER.encode()
_MAX_DIGITS = 9


def deadline_from(timeout: bytes | None) -> float | None:
    """Return the deadline of a request that arrives now with *timeout* in its header, or None when it is no number."""
    if timeout is None or not timeout.isdigit() or len(timeout) > _MAX_DIGITS:
        return None
    return time() + int(timeout) / 1e3


class RequestContext(Filter):
    """Set TRACE_CONTEXT and DEADLINE while the application serves a request or websocket."""

    request_headers = (TIMEOUT_HEADER_BYTES,)

    def on_application(self, exchange: Exchange) -> None:
        """Set the context variables whose values differ."""
        trace_context = exchange.trace_context
        if TRACE_CONTEXT.get() is not trace_context:
            exchange.set_context(TRACE_CONTEXT, trace_context)
        deadline = deadline_from(exchange.headers.get(TIMEOUT_HEADER_BYTES))
        if DEADLINE.get() != deadline:
            exchange.set_context(DEADLINE, deadline)


REQUEST_CONTEXT = RequestContext()
"""Shared by plugins that send requests or messages: ``LayeredFilter(Layer.RESOURCES, REQUEST_CONTEXT)``."""
