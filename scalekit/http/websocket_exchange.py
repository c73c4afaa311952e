"""The record of one websocket that all filters share."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from starlette.types import Message, Receive, Scope, Send

from scalekit.http.exchange import Exchange

if TYPE_CHECKING:
    from scalekit.http.filter_chain import FilterChain
    from scalekit.http.response import LocalResponse
    from scalekit.http.stage import Stage

SWITCHING_PROTOCOLS = 101
"""The status of an accepted websocket."""
FORBIDDEN = 403
"""The status with which servers respond to a websocket that is closed before it is accepted."""


class WebSocketExchange(Exchange):
    """One websocket. ``status`` is the status of its handshake, ``code`` its close code (RFC 6455)."""

    __slots__ = ("code",)

    def __init__(self, scope: Scope, receive: Receive, send: Send, chain: FilterChain, stage: Stage) -> None:
        super().__init__(scope, receive, send, chain, stage)
        self.code = 0

    def send(self, message: Message) -> Awaitable[None]:
        """Send *message* to the client."""
        kind = message["type"]
        if kind == "websocket.send":
            self.response_bytes += len(message.get("bytes") or (message.get("text") or "").encode("utf-8", "replace"))
        elif kind in ("websocket.accept", "websocket.http.response.start"):
            self.status = message.get("status", SWITCHING_PROTOCOLS)
            starts = self.stage.response_starts[self.depth]
            if starts or self.added_headers:
                message = self._with_headers(message, starts)
        elif kind == "websocket.http.response.body":
            self.response_bytes += len(message.get("body", b""))
        elif kind == "websocket.close":
            self.status = self.status or FORBIDDEN
            self.code = message.get("code", 1000)
        return self.client_send(message)

    async def receive(self) -> Message:
        """Receive a message from the client."""
        message = await self.client_receive()
        if message["type"] == "websocket.disconnect":
            self.disconnected = True
            self.code = self.code or message.get("code", 1005)
        return message

    async def respond(self, response: LocalResponse) -> None:
        """Reject the websocket with *response*, or close it when the server cannot send a response."""
        if "websocket.http.response" not in self.scope.get("extensions", {}):
            await self.send({"type": "websocket.close", "code": 1008, "reason": response.detail})
            return
        headers = [*self.start_response(response)]
        await self.client_send({"type": "websocket.http.response.start", "status": response.status, "headers": headers})
        await self.client_send({"type": "websocket.http.response.body", "body": response.body})
