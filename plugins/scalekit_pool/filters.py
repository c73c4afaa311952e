"""Attach the current request to the context, for slow-query and leak logs."""

from __future__ import annotations

from scalekit import Exchange, Filter
from scalekit_pool.slow_query_log import ORIGIN


class ServedRequest:
    """The request of *exchange*; its route and id are computed when they are read."""

    __slots__ = ("_exchange",)

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    @property
    def route(self) -> str:
        """The template of its route, or its path while no route is known."""
        return self._exchange.route or self._exchange.path

    @property
    def request_id(self) -> str:
        """Its id."""
        return self._exchange.trace_context.request_id


class RequestOrigin(Filter):
    """Notes each request and websocket in the context that it is served in."""

    def on_application(self, exchange: Exchange) -> None:
        """Note it."""
        exchange.set_context(ORIGIN, ServedRequest(exchange))
