"""A message as transports carry it, and what a transport does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from scalekit.contracts import PublishFailed

ATTEMPT = "scalekit-attempt"
REASON = "scalekit-reason"
STACK = "scalekit-stack"
FIRST = "scalekit-first-failed"
LAST = "scalekit-last-failed"
OWN = "scalekit-"


@dataclass(slots=True)
class Envelope:
    """A message under *name*: *delay* is in seconds until it is due, *published* in seconds since the epoch."""

    name: str
    id: str
    body: bytes
    published: float
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    dead: bool = False

    @property
    def attempt(self) -> int:
        """How many times it is being tried with this one; the first is 1."""
        text = self.headers.get(ATTEMPT, "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 1

    def again(self, delay: float, headers: Mapping[str, str]) -> Envelope:
        """Return it as it is to be tried next, after *delay*."""
        merged = {**self.headers, **headers, ATTEMPT: str(self.attempt + 1)}
        return Envelope(self.name, self.id, self.body, self.published, merged, delay)

    def buried(self, headers: Mapping[str, str]) -> Envelope:
        """Return it as the dead letter that it becomes."""
        merged = {**self.headers, ATTEMPT: str(self.attempt), **headers}
        return Envelope(self.name, self.id, self.body, self.published, merged, dead=True)

    def replayed(self) -> Envelope:
        """Return it as it was before it was first tried."""
        kept = {name: value for name, value in self.headers.items() if name not in _OF_FAILURES}
        return Envelope(self.name, self.id, self.body, self.published, kept)


_OF_FAILURES = (ATTEMPT, REASON, STACK, FIRST, LAST)


class PendingDelivery(Protocol):
    """A message that a consumer holds until it has settled it, by one of these; each may raise SettlementFailed."""

    envelope: Envelope

    @property
    def lost(self) -> bool:
        """Whether it can no longer be settled here, since it is delivered again."""
        ...

    async def done(self) -> None:
        """Forget it."""
        ...

    async def retry(self, delay: float, headers: Mapping[str, str]) -> None:
        """Have it delivered again after *delay*, with *headers* besides its own."""
        ...

    async def bury(self, headers: Mapping[str, str]) -> None:
        """Make it a dead letter with *headers* besides its own."""
        ...

    async def release(self) -> None:
        """Give it back as it is."""
        ...


class SettlementFailed(Exception):
    """A delivery could not be settled; the message will be delivered again."""


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """How many messages of a name there are: *ready*, *waiting* for their time, *taken* by consumers and *dead*.

    None is what a transport does not tell.
    """

    name: str
    ready: int
    waiting: int | None
    taken: int | None
    dead: int


OnDelivery = Callable[[PendingDelivery], None]


class Transport(Protocol):
    """Carries messages."""

    @property
    def trouble(self) -> str:
        """What is wrong with it now, without secrets; empty while all is well."""
        ...

    def running(self) -> AbstractAsyncContextManager[None]:
        """Be ready to send while inside."""
        ...

    def begin(self) -> None:
        """Begin to deliver what was subscribed to."""
        ...

    async def send(self, envelopes: Sequence[Envelope], timeout: float) -> list[PublishFailed | None]:
        """Send *envelopes*; return for each, in their order, None once it is safe, or why it is not known to be."""
        ...

    def subscribe(self, name: str, prefetch: int, take: OnDelivery) -> None:
        """Have messages *name* delivered to *take*, at most *prefetch* that are not settled."""
        ...

    async def pause(self) -> None:
        """Take no more messages; those that are held can be settled still."""
        ...


class QueueAdmin(Protocol):
    """Shows and moves the messages of a transport."""

    async def names(self) -> list[str]:
        """Return the names that messages are known to have."""
        ...

    async def depth(self, name: str) -> QueueDepth:
        """Count the messages *name*."""
        ...

    async def peek(self, name: str, dead: bool, limit: int) -> list[Envelope]:
        """Return the first messages *name* that are ready, or dead, and leave them where they are."""
        ...

    async def replay(self, name: str, ids: Sequence[str], limit: int) -> int:
        """Make dead letters *name* messages again, those of *ids* or the first *limit*; return how many."""
        ...

    async def purge(self, name: str, dead: bool) -> int:
        """Drop the messages *name* that are ready, or dead; return how many."""
        ...
