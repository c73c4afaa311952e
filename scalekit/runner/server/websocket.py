"""uvicorn's websocket connection, where a error_response is an answer."""

from __future__ import annotations

from asyncio import BaseTransport
from collections.abc import Callable
from typing import TYPE_CHECKING

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from scalekit.http.problem import MEDIA_TYPE
from scalekit.runner.server.error_response import error_response, problem_body

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent
    from websockets.http11 import Response

PREFIX = "Failed to open a WebSocket connection: "
LONGEST = 200
"""Characters of a error_response's detail."""


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """One connection."""

    def connection_made(self, transport: BaseTransport) -> None:
        """Begin, with refusals that are problems like all others."""
        super().connection_made(transport)
        self.conn.reject = _as_problems(self.conn.reject)  # type: ignore[assignment, method-assign]

    def data_received(self, data: bytes) -> None:
        """Take *data*; a handshake that cannot be read is refused, where uvicorn would keep the connection for good."""
        super().data_received(data)
        error = self.conn.handshake_exc
        if error is not None and not self.handshake_initiated and not self.transport.is_closing():
            self.transport.write(error_response(400, _told(error.__cause__ or error), self.default_headers))
            self.transport.close()

    async def send(self, message: ASGISendEvent) -> None:
        """Send *message*; an HTTP answer that is complete ends the handshake.

        uvicorn takes it for a handshake that was forgotten, and logs an error for every client that is refused.
        """
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True


def _as_problems(reject: Callable[[int, str], Response]) -> Callable[[int, str], Response]:
    """Return what *reject* does, with a problem_body where it says what is wrong with a handshake."""

    def rejected(status: int, text: str) -> Response:
        response = reject(status, text)
        if text.startswith(PREFIX):
            response.body = problem_body(response.status_code, _told(text.removeprefix(PREFIX).rstrip(".\n")))
            for name, value in (("Content-Type", MEDIA_TYPE), ("Content-Length", str(len(response.body)))):
                del response.headers[name]
                response.headers[name] = value
        return response

    return rejected


def _told(why: object) -> str:
    return f"the websocket handshake is not valid: {why}"[:LONGEST]
