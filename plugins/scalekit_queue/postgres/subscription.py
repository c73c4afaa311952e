"""The consumer of the messages of one name, and its deliveries."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from scalekit_queue.batch_writer import BatchWriter
from scalekit_queue.envelope import Envelope
from scalekit_queue.postgres.store import DeliveryKey, PostgresStore, Received, Settlement, encode_headers
from scalekit_queue.propagation import AFTER_COMMIT
from scalekit_queue.statement_status import StatementStatus
from scalekit_queue.transport import MAX_DELIVERIES, OnDelivery, SettlementFailed

T = TypeVar("T")

SETTLE_TIMEOUT = 10.0
"""Seconds within which settling a message must be committed."""
RECEIVE_TIMEOUT = 5.0
"""Seconds in which messages must be received."""
RETRY_DELAY = 0.2
"""Seconds before messages are received again after an error."""
MAX_BATCH = 1000
"""Maximum number of deliveries that one statement settles."""

CommittedHeaders = Callable[[], Awaitable[dict[str, str]]]
"""Returns the header with the consistency token of all committed writes."""


class SettlementWriters:
    """Settle deliveries in batches, those of each kind in one statement."""

    def __init__(self, store: PostgresStore) -> None:
        self.ack: BatchWriter[DeliveryKey, bool] = BatchWriter(store.ack, MAX_BATCH, "delete messages")
        self.requeue: BatchWriter[DeliveryKey, bool] = BatchWriter(store.requeue, MAX_BATCH, "requeue messages")
        self.retry: BatchWriter[Settlement, bool] = BatchWriter(store.retry, MAX_BATCH, "postpone messages")
        self.dead_letter: BatchWriter[Settlement, bool] = BatchWriter(
            store.dead_letter, MAX_BATCH, "store dead letters"
        )

    @property
    def statuses(self) -> Sequence[StatementStatus]:
        """Whether the statements of each kind succeed."""
        return [each.status for each in (self.ack, self.requeue, self.retry, self.dead_letter)]

    async def close(self) -> None:
        """Settle the deliveries that wait."""
        await asyncio.gather(*(each.close() for each in (self.ack, self.requeue, self.retry, self.dead_letter)))


class PostgresSubscription:
    """Receives messages named *name*, at most *prefetch* of them in flight."""

    def __init__(
        self, store: PostgresStore, writers: SettlementWriters, name: str, prefetch: int, on_delivery: OnDelivery
    ) -> None:
        self.name = name
        self.status = StatementStatus("deliver messages")
        self.receiving = asyncio.Lock()
        self.in_doubt = False
        """Whether messages may belong to the lease that are not among *unsettled*."""
        self.unsettled: set[DeliveryKey] = set()
        self._in_flight = 0
        self.writers = writers
        self._store = store
        self._prefetch = prefetch
        self._on_delivery = on_delivery
        self._paused = self._stopped = False
        self._wake = asyncio.Event()

    @property
    def is_idle(self) -> bool:
        """Whether it waits for messages."""
        return not self._paused and not self.receiving.locked() and self._has_room

    def wake(self) -> None:
        """Receive messages now, if there is room."""
        self._wake.set()

    async def run(self, committed_headers: CommittedHeaders) -> None:
        """Receive messages whenever woken while at least half of the prefetch is free, until stopped."""
        while not self._stopped:
            self._wake.clear()
            free = self._prefetch - self._in_flight
            if not self._has_room or await self._receive_unless_paused(free, committed_headers) < free:
                await self._wake.wait()

    async def pause(self) -> None:
        """Receive no more messages; return when none is being received."""
        self._paused = True
        async with self.receiving:
            pass

    def resume(self) -> None:
        """Receive messages again."""
        self._paused = False
        self.wake()

    def stop(self) -> None:
        """End ``run`` once no message is being received."""
        self._stopped = True
        self.wake()

    async def settle(self, writer: BatchWriter[T, bool], item: T, key: DeliveryKey) -> None:
        """Write *item* by *writer*; raise SettlementFailed when *key* has expired, or after SETTLE_TIMEOUT."""
        self._in_flight -= 1
        if self._has_room:
            self.wake()
        is_settled = None
        try:
            async with asyncio.timeout(SETTLE_TIMEOUT):
                is_settled = await writer.execute(item)
        except TimeoutError:
            raise SettlementFailed(writer.status.last_error or "the database does not respond") from None
        finally:
            self.unsettled.discard(key)
            self.in_doubt |= is_settled is None
        if not is_settled:
            raise SettlementFailed("the lease of this process had expired, and it was delivered again")

    @property
    def _has_room(self) -> bool:
        return (self._prefetch - self._in_flight) * 2 >= self._prefetch

    async def _receive_unless_paused(self, limit: int, committed_headers: CommittedHeaders) -> int:
        async with self.receiving:
            if self._paused:
                return 0
            try:
                async with asyncio.timeout(RECEIVE_TIMEOUT):
                    received = await self._store.receive(self.name, limit)
            except Exception as error:
                self.in_doubt = True
                self.status.failed(error)
                await asyncio.sleep(RETRY_DELAY)
                self.wake()
                return 0
            self.status.succeeded()
            await self._deliver(received, committed_headers)
            return len(received)

    async def _deliver(self, received: Sequence[Received], committed_headers: CommittedHeaders) -> None:
        self._in_flight += len(received)
        headers: dict[str, str] | None = {}
        if any(AFTER_COMMIT in each.envelope.headers for each in received):
            headers = await _or_none(committed_headers)
        for tag, unsettled, envelope in received:
            delivery = PostgresDelivery(self, tag, envelope, unsettled > MAX_DELIVERIES)
            if envelope.headers.pop(AFTER_COMMIT, None) is None:
                self.unsettled.add(tag)
                self._on_delivery(delivery)
            elif headers is None:
                self.writers.requeue.submit(tag)
                self._in_flight -= 1
            else:
                envelope.headers.update(headers)
                self.unsettled.add(tag)
                self._on_delivery(delivery)


class PostgresDelivery:
    """A message in flight."""

    __slots__ = ("_key", "_subscription", "envelope", "is_exhausted")
    redelivered = False

    def __init__(
        self, subscription: PostgresSubscription, tag: DeliveryKey, envelope: Envelope, is_exhausted: bool
    ) -> None:
        self._subscription = subscription
        self._key = tag
        self.envelope = envelope
        self.is_exhausted = is_exhausted

    async def ack(self) -> None:
        """Delete the message."""
        await self._subscription.settle(self._subscription.writers.ack, self._key, self._key)

    async def retry(self, delay: float, headers: Mapping[str, str]) -> None:
        """Make the message due after *delay* seconds."""
        retry = self.envelope.as_retry(delay, headers)
        await self._subscription.settle(self._subscription.writers.retry, _settlement(self._key, retry), self._key)

    async def dead_letter(self, headers: Mapping[str, str]) -> None:
        """Move the message to the dead letters."""
        letter = self.envelope.as_dead_letter(headers)
        await self._subscription.settle(
            self._subscription.writers.dead_letter, _settlement(self._key, letter), self._key
        )

    async def requeue(self) -> None:
        """Return the message to the queue unchanged."""
        await self._subscription.settle(self._subscription.writers.requeue, self._key, self._key)


def _settlement(tag: DeliveryKey, envelope: Envelope) -> Settlement:
    return Settlement(tag, envelope.delay, encode_headers(envelope))


async def _or_none(committed_headers: CommittedHeaders) -> dict[str, str] | None:
    try:
        return await committed_headers()
    except Exception:  # the database is unavailable
        return None
