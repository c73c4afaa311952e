"""A worker's client of the message hub in its supervisor."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count
from typing import Any

from scalekit.errors import Unavailable
from scalekit.message_hub import HubLimits, HubMessage, WorkerHub
from scalekit.runner.workers.hub_frames import HubFrame, decode_frame, encode_frame, split_history

REQUEST_TIMEOUT = 5.0
"""Seconds to wait for a reply of the supervisor."""
MAX_PENDING = 10_000
"""Requests that wait for a reply, at most."""
MAX_UNSENT_SIZE = 32 * 2**20
"""Bytes that wait for the supervisor to read them, at most, and of one message."""


class SupervisorHub:
    """Sends requests with *send*, of which *unsent* returns the bytes that wait, and passes messages to *hub*."""

    def __init__(self, hub: WorkerHub, send: Callable[[bytes], None], unsent: Callable[[], int]) -> None:
        self._hub = hub
        self._send = send
        self._unsent = unsent
        self._ids = count()
        self._pending: dict[int, asyncio.Future[HubFrame]] = {}

    async def configure(self, limits: HubLimits) -> None:
        """Set the limits of the hub."""
        await self._request("configure", limits.history, limits.ttl, limits.size, limits.channels)

    async def publish(self, channel: str, body: bytes) -> str:
        """Publish a message to all workers; return its id."""
        reply = await self._request("publish", channel, body=body)
        return str(reply.arguments[1])

    async def join(self, channel: str) -> None:
        """Receive the messages of *channel*."""
        await self._request("join", channel)

    def leave(self, channel: str) -> None:
        """Receive no more messages of *channel*."""
        self._send(encode_frame("leave", channel))

    async def history(self, channel: str) -> list[HubMessage]:
        """Return the stored messages of *channel*, oldest first."""
        reply = await self._request("history", channel)
        return list(split_history(reply.arguments[1], reply.body))

    def receive(self, content: bytes) -> None:
        """Handle a frame of the supervisor."""
        frame = decode_frame(content)
        if frame.name == "message":
            channel, message_id = frame.arguments
            self._hub.on_message(channel, HubMessage(message_id, frame.body))
        elif frame.name == "reply":
            future = self._pending.get(frame.arguments[0])
            if future is not None and not future.done():
                future.set_result(frame)
        elif frame.name == "interrupted":
            self._hub.on_interrupted()

    async def _request(self, name: str, *arguments: Any, body: bytes = b"") -> HubFrame:
        if len(self._pending) >= MAX_PENDING or self._unsent() + len(body) > MAX_UNSENT_SIZE:
            raise Unavailable(f"{len(self._pending)} requests and {self._unsent()} bytes wait for the supervisor")
        request_id = next(self._ids)
        future: asyncio.Future[HubFrame] = asyncio.get_running_loop().create_future()
        self._pending[request_id] = future
        self._send(encode_frame(name, request_id, *arguments, body=body))
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                return await future
        except TimeoutError:
            raise Unavailable(f"no reply of the supervisor within {REQUEST_TIMEOUT:g}s") from None
        finally:
            del self._pending[request_id]
