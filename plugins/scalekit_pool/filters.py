"""Attach the current request to the context, for logs of statements and leaks, for the query budget and its session."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

from sqlalchemy.exc import IllegalStateChangeError
from starlette.requests import HTTPConnection

from scalekit import TRACE_CONTEXT, Exchange, Filter, ResourceError, WebSocketExchange
from scalekit.contracts import Database

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

logger = logging.getLogger("scalekit.pool")

SCOPE_KEY = "scalekit.pool"
"""The key of the ASGI scope that holds the :class:`ExchangeInfo`."""


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

    __slots__ = ("_exchange", "has_ended", "session", "statement_count", "statements")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.statements: dict[str, int] = {}
        self.statement_count = 0
        self.session: AsyncSession | None = None
        self.has_ended = False

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
    """Sets `CURRENT_REQUEST` for each request and websocket, and closes its session at its end."""

    def on_application(self, exchange: Exchange) -> None:
        """Set the current request in the context that the application runs in."""
        info = exchange.scope[SCOPE_KEY] = ExchangeInfo(exchange)
        exchange.set_context(CURRENT_REQUEST, info)

    def on_complete(self, exchange: Exchange, error: BaseException | None) -> None:
        """Close the session."""
        info = exchange.scope.pop(SCOPE_KEY, None)  # it refers to the exchange
        if info is not None:
            info.has_ended = True
            if info.session is not None:
                _close(info.session, info)

    def on_close(self, exchange: WebSocketExchange, error: BaseException | None) -> None:
        """Close the session."""
        self.on_complete(exchange, error)


def session_of(database: Database, connection: HTTPConnection) -> AsyncSession:
    """Return the session of a request or websocket on *database*; raise ResourceError when the request has ended."""
    info: ExchangeInfo | None = connection.scope.get(SCOPE_KEY)
    if info is None or info.has_ended:
        raise ResourceError("this request has ended, and its session with it: use DATABASE.sessions() in its tasks")
    if info.session is None:
        info.session = database.sessions()
    return info.session


def _close(session: AsyncSession, info: ExchangeInfo) -> None:
    """Close *session* without waiting: the pool rolls back in the background."""
    try:
        session.sync_session.close()
    except IllegalStateChangeError:  # the commit, or the rollback, releases the connection
        logger.warning(
            "%s ended while another task commits its session, or rolls it back: await that task, or use"
            " DATABASE.sessions() in it",
            info.route,
            extra=with_request_id({}, info),
        )


def with_request_id(extra: dict[str, object], request: RequestInfo | None) -> dict[str, object]:
    """Return *extra*, fields of a log record, with the id of *request* unless the log formatter adds it."""
    return extra if request is None or TRACE_CONTEXT.get() is not None else {**extra, "request_id": request.request_id}
