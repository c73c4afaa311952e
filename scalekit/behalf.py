"""Propagate the identity and the deadline of a request to the messages and calls that are made on its behalf."""

from __future__ import annotations

from scalekit.deadline import DEADLINE, TIMEOUT_HEADER, deadline_from
from scalekit.http.exchange import Exchange
from scalekit.http.filter import Filter
from scalekit.identity import CURRENT


class RequestContext(Filter):
    """Set CURRENT and DEADLINE while the application serves a request or websocket."""

    request_headers = (TIMEOUT_HEADER,)

    def on_application(self, exchange: Exchange) -> None:
        """Set what differs."""
        identity = exchange.identity
        if CURRENT.get() is not identity:
            exchange.set_context(CURRENT, identity)
        deadline = deadline_from(exchange.headers.get(TIMEOUT_HEADER))
        if DEADLINE.get() != deadline:
            exchange.set_context(DEADLINE, deadline)


REQUEST_CONTEXT = RequestContext()
"""For plugins that send messages or calls: ``Layered(Layer.DATA, REQUEST_CONTEXT)``. It stands in a chain once."""
