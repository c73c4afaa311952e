"""What can be seen of one request or websocket while its messages pass."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Awaitable
from time import perf_counter

from starlette.types import Message, Receive, Scope, Send

from scalekit.identity import REQUEST_ID, Identity

CLIENT_LEFT = 499
"""The status, nginx's, of a request whose client did not wait for the answer."""
SWITCHED = 101
LENGTH = len(REQUEST_ID)
REJECTED = 403
"""What servers answer when a websocket is closed before it was accepted."""


class Exchange:
    """What was seen of a request: how it was answered, how large, how long, and whether the client waited for it."""

    __slots__ = ("began", "code", "ended", "identity", "left", "path", "scope", "size", "status")

    def __init__(self, scope: Scope, path: str, identity: Identity, began: float) -> None:
        self.scope = scope
        self.path = path
        self.identity = identity
        self.began = began
        self.ended = 0.0
        self.status = 0
        self.size = 0
        self.code = 0
        self.left = False

    def seconds(self) -> float:
        """Return how long it took until the answer was complete, without what the application did afterwards."""
        return (self.ended or perf_counter()) - self.began

    def fails(self, error: BaseException | None) -> bool:
        """Tell whether *error* is a mistake, and not only the news that the client left or the request was cut."""
        if error is None or isinstance(error, CancelledError):
            return False
        return not (self.left and (isinstance(error, OSError) or "Disconnect" in type(error).__name__))


class Socket(Exchange):
    """Passes on the messages of a websocket, and looks at them."""

    __slots__ = ("_receive", "_send")

    def __init__(self, scope: Scope, receive: Receive, send: Send, identity: Identity) -> None:
        super().__init__(scope, scope["path"], identity, perf_counter())
        self._receive = receive
        self._send = send

    def send(self, message: Message) -> Awaitable[None]:
        """Pass on what goes to the client."""
        kind = message["type"]
        if kind == "websocket.send":
            self.size += len(message.get("bytes") or (message.get("text") or "").encode("utf-8", "replace"))
        elif kind == "websocket.accept":
            self.status = SWITCHED
            message = named(message, self.identity)
        elif kind == "websocket.http.response.start":
            self.status = message["status"]
            message = named(message, self.identity)
        elif kind == "websocket.close":
            self.status = self.status or REJECTED
            self.code = message.get("code", 1000)
        return self._send(message)

    async def receive(self) -> Message:
        """Pass on what comes from the client."""
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            self.left = True
            self.code = self.code or message.get("code", 1005)
        return message


def named(message: Message, identity: Identity) -> Message:
    """Return a copy of *message* whose headers name the request exactly once."""
    headers = message.get("headers", ())
    for field in headers:
        if len(field[0]) == LENGTH and field[0].lower() == REQUEST_ID:
            headers = [field for field in headers if field[0].lower() != REQUEST_ID]
            break
    return {**message, "headers": [*headers, (REQUEST_ID, identity.request_id.encode())]}
