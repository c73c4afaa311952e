"""Channels between the workers of a service: the last messages of each, and the members that receive new ones.

A single process has a hub of its own. With several workers the hub is in their supervisor, so that messages outlive a
worker that crashes or is replaced.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from time import time
from typing import NamedTuple, Protocol

from scalekit.context import Key

OVERHEAD = 200
"""Bytes of memory that a stored message needs besides its body, and a channel besides its messages."""


class HubMessage(NamedTuple):
    """A stored message: an id ``<milliseconds>-<number>``, whose number counts the messages of the channel."""

    id: str
    body: bytes


@dataclass(frozen=True, slots=True)
class HubLimits:
    """What a hub keeps: *history* messages of a channel for *ttl* seconds after the last, *size* bytes in all."""

    history: int = 100
    ttl: float = 3600.0
    size: int = 64 * 2**20
    channels: int = 10_000


Member = Callable[[str, HubMessage], None]
"""Receives the messages of the channels that it has joined; must not raise."""


@dataclass(slots=True)
class _Channel:
    messages: deque[HubMessage] = field(default_factory=deque)
    published: float = 0.0
    size: int = OVERHEAD
    number: int = 0


class MessageHub:
    """The channels of one service. The least recently used ones are removed beyond the limits."""

    def __init__(self, clock: Callable[[], float] = time) -> None:
        self.limits = HubLimits()
        self.size = 0
        self._clock = clock
        self._channels: OrderedDict[str, _Channel] = OrderedDict()
        self._members: dict[str, dict[Member, None]] = {}
        self._last_milliseconds = 0

    def publish(self, channel: str, body: bytes) -> str:
        """Store a message and pass it to the members of *channel*; return its id."""
        stored = self._channels.get(channel)
        if stored is None or self._is_expired(stored):
            self._remove(channel)
            stored = self._channels[channel] = _Channel()
        self._channels.move_to_end(channel)
        stored.published = self._clock()
        stored.number += 1
        self._last_milliseconds = max(self._last_milliseconds + (stored.number == 1), int(stored.published * 1000))
        message = HubMessage(f"{self._last_milliseconds}-{stored.number}", body)
        stored.messages.append(message)
        self._add_size(stored, len(body) + OVERHEAD)
        self._trim(stored)
        for member in list(self._members.get(channel, ())):
            member(channel, message)
        return message.id

    def history(self, channel: str) -> list[HubMessage]:
        """Return the stored messages of *channel*, oldest first."""
        stored = self._channels.get(channel)
        if stored is None or self._is_expired(stored):
            return []
        return list(stored.messages)

    def join(self, channel: str, member: Member) -> None:
        """Pass the messages of *channel* to *member*."""
        self._members.setdefault(channel, {})[member] = None

    def leave(self, channel: str, member: Member) -> None:
        """Pass no more messages of *channel* to *member*."""
        members = self._members.get(channel, {})
        members.pop(member, None)
        if not members:
            self._members.pop(channel, None)

    def leave_all(self, member: Member) -> None:
        """Pass no more messages to *member*."""
        for channel in list(self._members):
            self.leave(channel, member)

    def _trim(self, stored: _Channel) -> None:
        limits = self.limits
        while len(stored.messages) > limits.history or (stored.size > limits.size and len(stored.messages) > 1):
            self._add_size(stored, -len(stored.messages.popleft().body) - OVERHEAD)
        while len(self._channels) > 1:
            name, oldest = next(iter(self._channels.items()))
            if self.size <= limits.size and len(self._channels) <= limits.channels and not self._is_expired(oldest):
                return
            self._remove(name)

    def _remove(self, channel: str) -> None:
        stored = self._channels.pop(channel, None)
        if stored is not None:
            self.size -= stored.size - OVERHEAD

    def _add_size(self, stored: _Channel, size: int) -> None:
        stored.size += size
        self.size += size

    def _is_expired(self, stored: _Channel) -> bool:
        return self._clock() - stored.published > self.limits.ttl


class HubClient(Protocol):
    """A hub in this process or in the supervisor. Methods raise Unavailable when the supervisor does not respond."""

    async def configure(self, limits: HubLimits) -> None:
        """Set the limits of the hub; the latest apply."""
        ...

    async def publish(self, channel: str, body: bytes) -> str:
        """Publish a message to all members in all workers; return its id."""
        ...

    async def join(self, channel: str) -> None:
        """Receive the messages of *channel*: returns when every later one is received."""
        ...

    def leave(self, channel: str) -> None:
        """Receive no more messages of *channel*."""
        ...

    async def history(self, channel: str) -> list[HubMessage]:
        """Return the stored messages of *channel*, oldest first."""
        ...


class WorkerHub:
    """The hub of the service as this process uses it; the supervisor's client replaces the one of the process.

    *on_message* receives the messages of joined channels, and *on_interrupted* is called when some of any channel may
    have been dropped.
    """

    def __init__(self) -> None:
        self.client: HubClient = _LocalHub(MessageHub(), self._receive)
        self.on_message: Member = _ignore_message
        self.on_interrupted: Callable[[], None] = _ignore

    def _receive(self, channel: str, message: HubMessage) -> None:
        self.on_message(channel, message)


class _LocalHub:
    """The hub of a single process."""

    def __init__(self, hub: MessageHub, member: Member) -> None:
        self._hub = hub
        self._member = member

    async def configure(self, limits: HubLimits) -> None:
        self._hub.limits = limits

    async def publish(self, channel: str, body: bytes) -> str:
        return self._hub.publish(channel, body)

    async def join(self, channel: str) -> None:
        self._hub.join(channel, self._member)

    def leave(self, channel: str) -> None:
        self._hub.leave(channel, self._member)

    async def history(self, channel: str) -> list[HubMessage]:
        return self._hub.history(channel)


def _ignore_message(channel: str, message: HubMessage) -> None:
    """Do nothing."""


def _ignore() -> None:
    """Do nothing."""


WORKER_HUB: Key[WorkerHub] = Key("worker hub")
"""Channels between the workers of this service, provided before plugins start."""
