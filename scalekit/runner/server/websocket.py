"""uvicorn's websocket connection, with invalid handshakes rejected as problem+json."""

from __future__ import annotations

from asyncio import BaseTransport
from collections.abc import Callable
from typing import TYPE_CHECKING

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from scalekit.http.problem import MEDIA_TYPE
from scalekit.runner.server.error_response import error_response, problem_body
from scalekit.runner.server.unix_listener import unix_server

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent
    from websockets.http11 import Response

PREFIX = "Failed to open a WebSocket connection: "
MAX_DETAIL = 200
"""Characters of an error detail, at most."""


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """One websocket connection."""

    def connection_made(self, transport: BaseTransport) -> None:
        """Open the connection, with error responses as problem+json."""
        super().connection_made(transport)
        if self.client is None:
            self.server = unix_server(transport) or self.server
        self.conn.reject = _as_problems(self.conn.reject)  # type: ignore[assignment, method-assign]  # no hook

    def data_received(self, data: bytes) -> None:
        """Process *data*; reject a malformed handshake, on which uvicorn would keep the connection open forever."""
        super().data_received(data)
        error = self.conn.handshake_exc
        if error is not None and not self.handshake_initiated and not self.transport.is_closing():
            self.transport.write(error_response(400, _detail(error.__cause__ or error), self.default_headers))
            self.transport.close()

    async def send(self, message: ASGISendEvent) -> None:
        """Send *message*; a complete HTTP response ends the handshake.

        uvicorn takes such a handshake for an unfinished one and logs an error for every rejected client.
        """
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True


def _as_problems(reject: Callable[[int, str], Response]) -> Callable[[int, str], Response]:
    """Return *reject* with the error of an invalid handshake as problem+json."""

    def rejected(status: int, text: str) -> Response:
        response = reject(status, text)
        if text.startswith(PREFIX):
            response.body = problem_body(response.status_code, _detail(text.removeprefix(PREFIX).rstrip(".\n")))
            for name, value in (("Content-Type", MEDIA_TYPE), ("Content-Length", str(len(response.body)))):
                del response.headers[name]
                response.headers[name] = value
        return response

    return rejected


def _detail(error: object) -> str:
    return f"the websocket handshake is not valid: {error}"[:MAX_DETAIL]
