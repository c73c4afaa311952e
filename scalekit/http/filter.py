"""The base class of filters, and the decisions that they return."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Container
from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp

from scalekit.http.response import LocalResponse

if TYPE_CHECKING:
    from scalekit.http.exchange import Exchange
    from scalekit.http.websocket_exchange import WebSocketExchange

Takeover = Callable[[ASGIApp], Awaitable[None]]
"""Serves the rest of a request; called with the inner application: the inner filters and the target."""


class Pending:
    """A decision that waits for *reply*; *decide* returns it once the reply has a result or an exception.

    A cancelled reply becomes a 503, because its server is unavailable.
    """

    __slots__ = ("began", "decide", "reply")

    def __init__(self, reply: asyncio.Future[Any], decide: Callable[[], Decision]) -> None:
        self.reply = reply
        self.decide = decide
        self.began = 0.0


class Later:
    """The type of LATER."""


LATER = Later()
"""Returned by a filter that runs while decisions are pending, to be called again when none is pending."""

Decision = LocalResponse | Pending | Takeover | Later | None
"""Result of ``Filter.on_request``: None continues, a response ends the chain, the others wait or take over."""


class Filter:
    """Takes part in requests and websockets at one layer. A method that a subclass does not override costs nothing.

    ``request_headers`` are the lower-case names that the filter reads in ``exchange.headers``. A filter with
    ``runs_while_pending`` is called while decisions of outer filters are pending: it may read and send a query to a
    server, but must have no effect on a request that an outer filter rejects.
    """

    request_headers: Container[bytes] = ()
    runs_while_pending = False

    def on_request(self, exchange: Exchange) -> Decision:
        """Decide on a request without waiting.

        Return None to continue, a local response to stop, a Pending to wait for a reply that is under way, or a
        function that serves the rest of the request and receives the inner application.
        """
        return None

    def on_open(self, exchange: WebSocketExchange) -> Decision:
        """Decide on a websocket before it is accepted, as ``on_request`` does on a request."""
        return None

    def on_application(self, exchange: Exchange) -> None:
        """Set context variables with ``exchange.set_context``; the application runs next, in this context."""

    def on_response_start(self, exchange: Exchange) -> None:
        """Change ``exchange.response_headers`` in place, or set ``exchange.current_headers`` to another list."""

    def on_complete(self, exchange: Exchange, error: BaseException | None) -> None:
        """Record how the request ended; *error* is the exception of the application, or None."""

    def on_close(self, exchange: WebSocketExchange, error: BaseException | None) -> None:
        """Record how the websocket ended; *error* is the exception of the application, or None."""
