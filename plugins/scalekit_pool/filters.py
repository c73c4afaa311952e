"""Attach the current request to the context, for logs of statements and leaks, and for the query budget."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Protocol

from scalekit import TRACE_CONTEXT, Exchange, Filter


class RequestInfo(Protocol):
    """The route and the id of a request, as the pool's log lines show them, and the numbers of its statements."""

    statements: dict[str, int]
    statement_count: int

    @property
    def route(self) -> str:
        """The route template."""
        ...

    @property
    def request_id(self) -> str:
        """The request id."""
        ...

    @property
    def has_budget(self) -> bool:
        """Whether the number of its statements is limited: not for a websocket or a task that outlives its request."""
        ...


CURRENT_REQUEST: ContextVar[RequestInfo | None] = ContextVar("scalekit.pool.request", default=None)
"""The request or websocket that the current task handles, if any."""


class ExchangeInfo:
    """The route and the id of *exchange*, computed when they are read."""

    __slots__ = ("_exchange", "statement_count", "statements")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.statements: dict[str, int] = {}
        self.statement_count = 0

    @property
    def route(self) -> str:
        """The route template, or the path while no route is known."""
        return self._exchange.route or self._exchange.path

    @property
    def request_id(self) -> str:
        """The request id."""
        return self._exchange.trace_context.request_id

    @property
    def has_budget(self) -> bool:
        """Whether it is a request, and not complete: websockets, and tasks that outlive a request, may run for days."""
        return self._exchange.scope["type"] == "http" and not self._exchange.seconds


class RequestInfoFilter(Filter):
    """Set `CURRENT_REQUEST` for each request and websocket."""

    def on_application(self, exchange: Exchange) -> None:
        """Set the current request in the context that the application runs in."""
        exchange.set_context(CURRENT_REQUEST, ExchangeInfo(exchange))


def with_request_id(extra: dict[str, object], request: RequestInfo | None) -> dict[str, object]:
    """Return *extra*, fields of a log record, with the id of *request* unless the log formatter adds it."""
    return extra if request is None or TRACE_CONTEXT.get() is not None else {**extra, "request_id": request.request_id}
