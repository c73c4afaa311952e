"""Server-sent events of a channel (WHATWG HTML, section 9.2), for EventSource in browsers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from scalekit import Key
from scalekit.contracts import BROADCAST, BroadcastMessage, SubscriberTooSlow, Subscription
from scalekit_broadcast.channel_name import check_channel
from scalekit_broadcast.disconnection import disconnect_timeout

HEADERS = {"content-type": "text/event-stream", "cache-control": "no-store", "x-accel-buffering": "no"}
"""``x-accel-buffering`` turns off the buffer of nginx."""
KEEP_ALIVE_COMMENT = b":\n\n"


class EventStreamOptions:
    """Durations of event streams in seconds."""

    def __init__(self, keep_alive: float, retry: float) -> None:
        self.keep_alive = keep_alive
        self.retry = retry


EVENT_STREAM_OPTIONS: Key[EventStreamOptions] = Key("event stream options", plugin="broadcast")


def server_sent_events(request: Request, channel: str, *, headers: Mapping[str, str] | None = None) -> Response:
    """Return a response that streams the messages of *channel*, from ``Last-Event-ID`` on when a client reconnects.

    The data of an event is the JSON of the message. When messages were missed, an event ``gap`` precedes, whose data is
    their number: the page loads its state again. The stream ends when the client disconnects or the process drains.
    Raises HTTPException (404) when *channel* is no name of a channel, which part of a URL may not be.
    """
    return EventStream(request, channel, headers)


class EventStream(Response):
    """The response of :func:`server_sent_events`."""

    def __init__(self, request: Request, channel: str, headers: Mapping[str, str] | None) -> None:
        try:
            check_channel(channel)
        except ValueError:
            raise HTTPException(404) from None
        super().__init__(headers=HEADERS | {name.lower(): value for name, value in (headers or {}).items()})
        del self.headers["content-length"]
        self._options = EVENT_STREAM_OPTIONS(request)
        self._after = request.headers.get("last-event-id") or None
        self._subscription = BROADCAST(request).subscribe(channel, after=self._after)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the client disconnects, is too slow, or the process drains."""
        start: Message = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        if scope["method"] == "HEAD":
            await send(start)
            await send({"type": "http.response.body", "body": b""})
            return
        async with self._subscription as messages, disconnect_timeout(receive):
            try:
                await send(start)
                await self._send_events(messages, send)
            except SubscriberTooSlow:  # counted; the client continues with its Last-Event-ID
                pass
            except OSError:  # how some servers report a disconnect
                return
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_events(self, messages: Subscription, send: Send) -> None:
        """Send the position first, so that a client that reconnects before its first event misses none."""
        position = b"id: %b\n" % messages.last_id.encode() if self._after is None else b""
        head = b"retry: %d\n%b\n" % (round(self._options.retry * 1000), position)
        reported = messages.missed
        await _send_body(send, head + _gap(reported))
        while True:
            try:
                async with asyncio.timeout(self._options.keep_alive):
                    message = await anext(messages)
            except StopAsyncIteration:
                return
            except TimeoutError:
                missed = messages.missed
                await _send_body(send, _gap(missed - reported) or KEEP_ALIVE_COMMENT)
                reported = missed
                continue
            await _send_body(send, _gap(message.missed - reported) + encode_event(message))
            reported = 0


def encode_event(message: BroadcastMessage) -> bytes:
    """Return *message* as an event."""
    return b"id: %b\ndata: %b\n\n" % (message.id.encode(), message.json)


def _gap(missed: int) -> bytes:
    return b"event: gap\ndata: %d\n\n" % missed if missed > 0 else b""


async def _send_body(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})
