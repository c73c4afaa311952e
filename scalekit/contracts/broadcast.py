"""Contract of broadcasts: messages to every subscriber of a channel, in all processes."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol, Self

import orjson

from scalekit.context import Key
from scalekit.errors import ScalekitError


@dataclass(frozen=True, slots=True)
class BroadcastMessage:
    """A message as one subscriber receives it.

    ``id`` identifies it in its channel: pass it as ``after`` to continue behind it. ``json`` is the value in JSON,
    without line breaks. ``missed`` is 0, or how many messages right before this one the subscriber does not receive; at
    least that many when the exact number is unknown.
    """

    id: str
    channel: str
    json: bytes
    missed: int = 0

    @property
    def data(self) -> Any:
        """The value that was published, decoded anew by each access."""
        return orjson.loads(self.json)


class SubscriberTooSlow(ScalekitError):
    """A subscriber fell behind by more messages than ``history``, and ``slow_subscribers`` is ``disconnect``."""


class Subscription(Protocol):
    """The messages of a channel in their order, from the moment when the subscription was entered.

    Iteration ends when this process drains: the client then subscribes in another one, with the id of its last message.
    """

    @property
    def last_id(self) -> str:
        """Id of the last message that was returned, or of the position before the first; empty when it is unknown."""
        ...

    @property
    def missed(self) -> int:
        """How many messages have been missed since the last one that was returned; 0 for none."""
        ...

    def __aiter__(self) -> Self:
        """Return the subscription itself."""
        ...

    async def __anext__(self) -> BroadcastMessage:
        """Return the next message; a cancelled call loses none.

        Raises SubscriberTooSlow, and StopAsyncIteration when this process drains.
        """
        ...


class Broadcast(Protocol):
    """Publishes messages to all subscribers of a channel in all processes; nothing is stored durably.

    A channel exists by being used; its name is text of 1 to 200 characters.
    """

    async def publish(self, channel: str, data: Any) -> str:
        """Publish *data*, a pydantic model or a JSON-compatible value; return the id of the message.

        Raises ValueError for an invalid channel or *data* that is no JSON or larger than ``max_message_size``, and
        Unavailable (503) when the message may not have been published.
        """
        ...

    def subscribe(self, channel: str, *, after: str | None = None) -> AbstractAsyncContextManager[Subscription]:
        """Subscribe to *channel* while inside: ``async with broadcast.subscribe(channel) as messages``.

        Every message whose ``publish`` is called after the block was entered is received. With *after*, the id of a
        message, those after it come first; when some of them are not kept any more, or the id is unknown, the first
        message has ``missed``. Raises ValueError for an invalid channel, and Unavailable (503) when the channel cannot
        be reached, or there are too many channels or subscribers.
        """
        ...


BROADCAST: Key[Broadcast] = Key("broadcast", plugin="broadcast")
"""Broadcasts between all processes of the service."""
