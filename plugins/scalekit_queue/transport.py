"""The protocols of a transport: sending, consuming, settling deliveries, and administration."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from scalekit.contracts import PublishFailed, Statements
from scalekit_queue.envelope import Envelope
from scalekit_queue.jobs.store import JobDatabase
from scalekit_queue.schedules.state import ScheduleStore

MAX_DELIVERIES = 20
"""Deliveries without settlement before a message becomes a dead letter: it may crash its consumers."""


class SettlementFailed(Exception):
    """A delivery could not be settled; the transport delivers the message again."""


class PendingDelivery(Protocol):
    """A delivered message that is not settled; each method that settles it may raise SettlementFailed."""

    envelope: Envelope

    @property
    def redelivered(self) -> bool:
        """Whether the transport delivers the message again, so that this delivery can no longer be settled."""
        ...

    @property
    def is_exhausted(self) -> bool:
        """Whether it was delivered MAX_DELIVERIES times before without being settled."""
        ...

    async def ack(self) -> None:
        """Acknowledge the message, which removes it from the queue."""
        ...

    async def retry(self, delay: float, headers: Mapping[str, str]) -> None:
        """Schedule the next attempt after *delay* seconds, with *headers* added."""
        ...

    async def dead_letter(self, headers: Mapping[str, str]) -> None:
        """Move the message to the dead letters, with *headers* added."""
        ...

    async def requeue(self) -> None:
        """Return the message to the queue unchanged."""
        ...


OnDelivery = Callable[[PendingDelivery], None]


class TransactionalStore(Protocol):
    """Stores messages in a transaction of the application's database."""

    async def store(self, database: Statements, envelope: Envelope) -> None:
        """Insert *envelope* in the current transaction of *database*; it is delivered after the commit."""
        ...


class Transport(Protocol):
    """Sends and delivers messages; *system* is its name in spans, such as ``rabbitmq``."""

    system: str

    @property
    def last_error(self) -> str:
        """The current error, without secrets; empty while the transport works."""
        ...

    @property
    def delay_queues(self) -> Sequence[str]:
        """The queues of delayed messages that this process has used, which the broker cannot list; else empty."""
        ...

    @property
    def transactional(self) -> TransactionalStore | None:
        """The store of messages whose queue is in the application's database; None for any other queue."""
        ...

    def open(self) -> AbstractAsyncContextManager[None]:
        """Return a context manager inside which messages can be sent."""
        ...

    async def send(self, envelopes: Sequence[Envelope], timeout: float) -> list[PublishFailed | None]:
        """Send *envelopes*; return for each, in order, None once it is stored, or the failure."""
        ...

    def schedule_store(self) -> ScheduleStore | None:
        """Return the states of schedules in the transport, or None when they are in the application's database."""
        ...

    def job_database(self) -> JobDatabase | None:
        """Return where the jobs are in the transport, or None when they are in the application's database."""
        ...

    def subscribe(self, name: str, prefetch: int, on_delivery: OnDelivery) -> None:
        """Deliver messages named *name* to *on_delivery*, at most *prefetch* of them unsettled."""
        ...

    def start_consuming(self) -> None:
        """Start to deliver messages to the subscribers."""
        ...

    async def pause(self, name: str) -> None:
        """Stop delivering messages named *name*: returns when no more arrive; those delivered can be settled."""
        ...

    async def resume(self, name: str) -> None:
        """Deliver messages named *name* again."""
        ...

    async def stop_consuming(self) -> None:
        """Stop delivering messages; those already delivered can still be settled."""
        ...


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """The numbers of messages of one name; None where the transport does not report a number."""

    name: str
    ready: int
    delayed: int | None
    in_flight: int | None
    dead: int
    oldest: float | None = None
    """When the oldest ready message was published, in seconds since the epoch."""
    is_partial: bool = False
    """Whether the transport cannot list delays and ages: more messages may be delayed, and *oldest* is not known."""


class QueueAdmin(Protocol):
    """Counts, shows, replays and purges messages."""

    async def names(self) -> list[str]:
        """Return the names of the messages in the queue, or of the consumers."""
        ...

    async def depth(self, name: str, delay_queues: Collection[str] = ()) -> QueueDepth:
        """Count the messages named *name*; *delay_queues* are those of the transports of all workers."""
        ...

    async def peek(self, name: str, dead: bool, limit: int, max_body: int | None = None) -> list[Envelope]:
        """Return the first *limit* ready messages, or dead letters, without removing them.

        With *max_body*, bodies are cut to that number of bytes.
        """
        ...

    async def find_dead_letter(self, name: str, identifier: str) -> Envelope | None:
        """Return a dead letter with the id *identifier*, or None when there is none among the first ones."""
        ...

    async def replay(self, name: str, ids: Sequence[str], limit: int) -> int:
        """Return dead letters to the queue, those with *ids* or the first *limit*; return their number."""
        ...

    async def purge(self, name: str, dead: bool, ids: Sequence[str] = ()) -> int:
        """Delete the ready messages, or the dead letters, those with *ids* if there are any; return their number."""
        ...
