"""Read the body of a request before the application does."""

from __future__ import annotations

from starlette.types import Message, Receive


class BodyTooLarge(Exception):
    """The body has more bytes than allowed."""


class ClientDisconnected(Exception):
    """The client disconnected before it had sent the whole body."""


async def read_body(receive: Receive, limit: int) -> bytes:
    """Return the body; raise BodyTooLarge beyond *limit* bytes, and ClientDisconnected."""
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        chunk = message.get("body", b"")
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            raise BodyTooLarge
        if not message.get("more_body", False):
            return b"".join(chunks)


def replay_body(body: bytes, receive: Receive) -> Receive:
    """Return a function that receives *body*, and after it what *receive* does."""
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return first.pop() if first else await receive()

    return receive_again
