"""uvicorn's websocket connection, where a refusal is an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from scalekit.server.refusal import refusal

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent

LONGEST = 200
"""Characters of a refusal's detail."""


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """One connection."""

    def data_received(self, data: bytes) -> None:
        """Take *data*; a handshake that cannot be read is refused, where uvicorn would keep the connection for good."""
        super().data_received(data)
        error = self.conn.handshake_exc
        if error is not None and not self.handshake_initiated and not self.transport.is_closing():
            detail = f"the websocket handshake is not valid: {error.__cause__ or error}"
            self.transport.write(refusal(400, detail[:LONGEST], self.default_headers))
            self.transport.close()

    async def send(self, message: ASGISendEvent) -> None:
        """Send *message*; an HTTP answer that is complete ends the handshake.

        uvicorn takes it for a handshake that was forgotten, and logs an error for every client that is refused.
        """
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True
