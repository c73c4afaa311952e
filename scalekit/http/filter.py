"""What a plugin contributes to the request's path."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Container
from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp

from scalekit.http.response import LocalResponse

if TYPE_CHECKING:
    from scalekit.http.exchange import Exchange, WebSocketExchange

Takeover = Callable[[ASGIApp], Awaitable[None]]
"""Serves the rest of a request: called with the application that the filters further in and the target make up."""


class Pending:
    """A decision that waits for *reply*; *decide* makes it once the reply has a result or an exception.

    A reply that is cancelled becomes a 503: what was asked is gone.
    """

    __slots__ = ("decide", "reply")

    def __init__(self, reply: asyncio.Future[Any], decide: Callable[[], Decision]) -> None:
        self.reply = reply
        self.decide = decide


class Later:
    """Type of LATER."""


LATER = Later()
"""Returned by a filter that runs while decisions are pending, and has to be asked again once none is."""

Decision = LocalResponse | Pending | Takeover | Later | None
"""What ``Filter.on_request`` returns: None continues, a response ends the chain, the others wait or take over."""


class Filter:
    """Takes part in requests and websockets at one layer. A method that a subclass leaves out costs nothing.

    ``request_headers`` are the names, in lower case, that it looks up in ``exchange.headers``. With
    ``runs_while_pending`` it is asked while filters further out wait for their decisions: it may then look, ask a
    server and remember, but nothing that it does may have an effect on a request that is refused.
    """

    request_headers: Container[bytes] = ()
    runs_while_pending = False

    def on_request(self, exchange: Exchange) -> Decision:
        """Decide on a request without waiting.

        Return None to continue; a response to stop; a Pending whose reply is on its way; or a function that serves the
        rest of the request, given the application further in.
        """
        return None

    def on_open(self, exchange: WebSocketExchange) -> Decision:
        """Decide on a websocket before it is opened, as ``on_request`` does on a request."""
        return None

    def on_application(self, exchange: Exchange) -> None:
        """Set context variables, with ``exchange.set_context``: the application is about to run in this context."""

    def on_response_start(self, exchange: Exchange) -> None:
        """Add to or change ``exchange.response_headers``, which no other code keeps."""

    def on_complete(self, exchange: Exchange, error: BaseException | None) -> None:
        """Record how the request ended; *error* is what came out of the application."""

    def on_close(self, exchange: WebSocketExchange, error: BaseException | None) -> None:
        """Record how the websocket ended; *error* is what came out of the application."""
