"""Propagate trace context and deadline to outgoing calls and messages."""

from __future__ import annotations

from scalekit.http.deadline import DEADLINE, TIMEOUT_HEADER_BYTES, deadline_from
from scalekit.http.exchange import Exchange
from scalekit.http.filter import Filter
from scalekit.http.trace_context import TRACE_CONTEXT


class RequestContext(Filter):
    """Set TRACE_CONTEXT and DEADLINE while the application serves a request or websocket."""

    request_headers = (TIMEOUT_HEADER_BYTES,)

    def on_application(self, exchange: Exchange) -> None:
        """Set what differs."""
        identity = exchange.trace_context
        if TRACE_CONTEXT.get() is not identity:
            exchange.set_context(TRACE_CONTEXT, identity)
        deadline = deadline_from(exchange.headers.get(TIMEOUT_HEADER_BYTES))
        if DEADLINE.get() != deadline:
            exchange.set_context(DEADLINE, deadline)


REQUEST_CONTEXT = RequestContext()
"""The one instance, for plugins that send messages or calls: ``LayeredFilter(Layer.RESOURCES, REQUEST_CONTEXT)``."""
