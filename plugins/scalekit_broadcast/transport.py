"""The part of a broadcast that differs between memory and Redis: it publishes, receives and stores messages."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class StoredMessage(NamedTuple):
    """A message in the history of its channel."""

    id: str
    json: bytes


class Receiver(Protocol):
    """Receives what a transport reports; the methods are plain functions that do not raise."""

    def on_message(self, channel: str, message: StoredMessage) -> None:
        """Handle a new message of a joined channel."""
        ...

    def on_interrupted(self, channel: str | None) -> None:
        """Handle that messages of *channel*, or of all channels for None, may have been lost before this moment."""
        ...


class BroadcastTransport(Protocol):
    """Publishes and receives messages. Methods raise Unavailable when the server does not respond."""

    async def publish(self, channel: str, json: bytes) -> str:
        """Store a message in the history of *channel* and send it to all members; return its id."""
        ...

    async def join(self, channel: str) -> None:
        """Receive the messages of *channel*: returns when every later one is received. May be called again."""
        ...

    def leave(self, channel: str) -> None:
        """Receive no more messages of *channel*."""
        ...

    async def history(self, channel: str) -> list[StoredMessage]:
        """Return the stored messages of *channel*, oldest first."""
        ...

    async def check_health(self) -> None:
        """Return when messages can be published; raises Unavailable."""
        ...
