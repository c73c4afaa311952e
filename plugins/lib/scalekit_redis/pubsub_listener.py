"""Callbacks for messages of channels (sharded pub/sub)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class PubSubListener:
    """Callbacks for messages. They run in the event loop and must be short and not raise.

    *on_message(channel, data)*: a message was published. *on_interrupted(channel)*: the channel is subscribed again;
    messages published before this moment may have been missed.
    """

    on_message: Callable[[bytes, bytes], None]
    on_interrupted: Callable[[bytes], None]


class ChannelSubscriptions(Protocol):
    """The subscribed channels of one listener, on one connection to each server."""

    async def subscribe(self, channel: bytes, timeout: float) -> None:
        """Subscribe to *channel*: returns when every later message is passed to the listener.

        Raises RedisUnavailable when the server does not confirm within *timeout* seconds, and ReplyError when it
        refuses. The channel stays subscribed, also after an error, until :meth:`unsubscribe`.
        """
        ...

    def unsubscribe(self, channel: bytes) -> None:
        """Receive no more messages of *channel*."""
        ...


OpenPubSub = AbstractAsyncContextManager[ChannelSubscriptions]
