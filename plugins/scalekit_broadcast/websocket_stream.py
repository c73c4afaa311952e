"""Messages of a channel over a websocket."""

from __future__ import annotations

from starlette.exceptions import WebSocketException
from starlette.websockets import WebSocket, WebSocketDisconnect

from scalekit import encode_json
from scalekit.contracts import BROADCAST, BroadcastMessage, Subscription
from scalekit_broadcast.channel_name import check_channel
from scalekit_broadcast.disconnection import disconnect_timeout

GOING_AWAY = 1001
"""Close code of a server that goes down (RFC 6455, section 7.4.1)."""
POLICY_VIOLATION = 1008
"""Close code of a websocket for a channel that cannot exist."""


async def send_messages(websocket: WebSocket, channel: str, *, after: str | None = None) -> None:
    """Send the messages of *channel* as JSON objects with ``id``, ``missed`` and ``data``, to an accepted websocket.

    The first object has no ``data``: its ``id`` is the position, which a client that reconnects passes on as *after*.
    Returns when the client disconnects; closes the websocket with code 1001 when the process drains. Messages from the
    client are dropped. Raises SubscriberTooSlow, Unavailable as ``subscribe`` does, and WebSocketException (close code
    1008) when *channel* is no name of a channel, which part of a URL may not be.
    """
    try:
        check_channel(channel)
    except ValueError as error:
        raise WebSocketException(POLICY_VIOLATION, "invalid channel") from error
    async with BROADCAST(websocket).subscribe(channel, after=after) as messages, disconnect_timeout(websocket.receive):
        try:
            await _send_all(websocket, messages, channel)
        except WebSocketDisconnect:  # a message was sent before the disconnect was received
            pass


async def _send_all(websocket: WebSocket, messages: Subscription, channel: str) -> None:
    position = BroadcastMessage(messages.last_id, channel, b"", messages.missed)
    await websocket.send_text(encode_object(position))
    async for message in messages:
        await websocket.send_text(encode_object(message))
    await websocket.close(GOING_AWAY)


def encode_object(message: BroadcastMessage) -> str:
    """Return *message* as a JSON object; without ``data`` when it has none."""
    head = encode_json({"id": message.id, "missed": message.missed})
    return (head if not message.json else b'%b,"data":%b}' % (head[:-1], message.json)).decode()
