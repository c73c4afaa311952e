"""Broadcasts in the memory of the service: of its process or, with several workers, of their supervisor."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from scalekit import HubLimits, HubMessage, WorkerHub
from scalekit_broadcast.transport import Receiver, StoredMessage


class MemoryTransport:
    """Publishes to all workers through *hub*."""

    def __init__(self, hub: WorkerHub) -> None:
        self._hub = hub

    async def publish(self, channel: str, json: bytes) -> str:
        """Publish a message to all workers; return its id."""
        return await self._hub.client.publish(channel, json)

    async def join(self, channel: str) -> None:
        """Receive the messages of *channel*."""
        await self._hub.client.join(channel)

    def leave(self, channel: str) -> None:
        """Receive no more messages of *channel*."""
        self._hub.client.leave(channel)

    async def history(self, channel: str) -> list[StoredMessage]:
        """Return the stored messages of *channel*, oldest first."""
        return [StoredMessage(*message) for message in await self._hub.client.history(channel)]

    async def check_health(self) -> None:
        """Return at once: the hub lives as long as its workers."""


@asynccontextmanager
async def open_memory_transport(
    hub: WorkerHub, receiver: Receiver, limits: HubLimits
) -> AsyncGenerator[MemoryTransport, None]:
    """Receive from *hub* while inside."""

    def on_message(channel: str, message: HubMessage) -> None:
        receiver.on_message(channel, StoredMessage(*message))

    def on_interrupted() -> None:
        receiver.on_interrupted(None)

    await hub.client.configure(limits)
    before = hub.on_message, hub.on_interrupted
    hub.on_message, hub.on_interrupted = on_message, on_interrupted
    try:
        yield MemoryTransport(hub)
    finally:
        hub.on_message, hub.on_interrupted = before
