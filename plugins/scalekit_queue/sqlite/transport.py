"""The SQLite transport: messages in one file that the processes of one machine share."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from time import time
from typing import Any

from scalekit.contracts import PublishFailed
from scalekit_queue.config import QueueConfig
from scalekit_queue.envelope import Envelope
from scalekit_queue.sqlite.group_commit import RETRY_DELAY, GroupCommitWriter
from scalekit_queue.sqlite.jobs import JobFile
from scalekit_queue.sqlite.schedule_store import FileScheduleStore
from scalekit_queue.sqlite.store import DeliveryTag, MessageStore
from scalekit_queue.statement_status import StatementStatus
from scalekit_queue.task_group import BackgroundTaskGroup
from scalekit_queue.transport import MAX_DELIVERIES, OnDelivery, SettlementFailed

SETTLE_TIMEOUT = 10.0
"""Seconds within which settling a message must be committed."""


class SqliteTransport:
    """Implements :class:`scalekit_queue.transport.Transport` with a SQLite file."""

    system = "sqlite"
    delay_queues = ()
    transactional = None

    def __init__(self, config: QueueConfig) -> None:
        self._writer = GroupCommitWriter(MessageStore(config.file, config.synchronous))
        self._owner = f"{os.getpid()}-{os.urandom(8).hex()}"
        self._visibility_timeout = config.visibility_timeout
        self._poll_interval = config.poll_interval
        self._max_waiting = config.max_waiting
        self._subscriptions: list[SqliteSubscription] = []
        self._consuming = BackgroundTaskGroup()

    @property
    def last_error(self) -> str:
        """The current error of the file; empty while it can be read and written."""
        errors = (self._writer.last_error, *(each.status.last_error for each in self._subscriptions))
        return next(filter(None, errors), "")

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None, None]:
        """Keep the file open while inside."""
        async with self._writer.open():
            extending = BackgroundTaskGroup()
            extending.start(self._extend_visibility())
            try:
                yield
            finally:
                await self._consuming.cancel()
                await extending.cancel()

    async def send(self, envelopes: Sequence[Envelope], timeout: float) -> list[PublishFailed | None]:
        """Insert *envelopes* in one transaction."""
        if self._writer.waiting >= self._max_waiting:
            reason = f"{self._max_waiting} messages already wait to be stored (max_waiting)"
            return [PublishFailed(reason, False)] * len(envelopes)
        operation = self._writer.submit(self._writer.store.insert, envelopes)
        try:
            async with asyncio.timeout(timeout):
                await self._writer.wait(operation)
        except TimeoutError:
            reason = self.last_error or "the disk is slow, or other processes write"
            return [PublishFailed(f"not stored within {timeout:g}s: {reason}", operation.started)] * len(envelopes)
        except sqlite3.Error as error:
            return [PublishFailed(f"not stored: {error}", False)] * len(envelopes)
        self._wake()
        return [None] * len(envelopes)

    def schedule_store(self) -> FileScheduleStore:
        """Return the states of schedules in the file."""
        return FileScheduleStore(self._writer, self._wake)

    def job_database(self) -> JobFile:
        """Return the jobs in the file."""
        return JobFile(self._writer, self._wake)

    def subscribe(self, name: str, prefetch: int, on_delivery: OnDelivery) -> None:
        """Deliver messages named *name* to *on_delivery* once consuming has started."""
        self._subscriptions.append(SqliteSubscription(self._writer, self._owner, name, prefetch, on_delivery))

    def start_consuming(self) -> None:
        """Start to poll for every subscription."""
        for subscription in self._subscriptions:
            self._consuming.start(subscription.poll(self._poll_interval, self._visibility_timeout))

    async def pause(self, name: str) -> None:
        """Stop polling for messages named *name*; return when none is being received."""
        for subscription in self._subscriptions:
            if subscription.name == name:
                await subscription.pause()

    async def resume(self, name: str) -> None:
        """Poll for messages named *name* again."""
        for subscription in self._subscriptions:
            if subscription.name == name:
                subscription.resume()

    async def stop_consuming(self) -> None:
        """Stop polling; messages already delivered can still be settled."""
        await self._consuming.cancel()

    def _wake(self) -> None:
        for subscription in self._subscriptions:
            subscription.wake()

    async def _extend_visibility(self) -> None:
        while True:
            await asyncio.sleep(self._visibility_timeout / 3)
            # Only those: a message whose settlement has failed becomes visible again.
            if tags := [tag for subscription in self._subscriptions for tag in subscription.unsettled]:
                await self._writer.execute(self._writer.store.extend_visibility, tags, self._visibility_timeout)


class SqliteSubscription:
    """The consumer of the messages of one name; *unsettled* are its deliveries that no settlement has ended."""

    def __init__(
        self, writer: GroupCommitWriter, owner: str, name: str, prefetch: int, on_delivery: OnDelivery
    ) -> None:
        self.unsettled: set[DeliveryTag] = set()
        self.status = StatementStatus("deliver messages")
        self._in_flight = 0
        self._writer = writer
        self._owner = owner
        self.name = name
        self._paused = False
        self._receiving = asyncio.Lock()
        self._prefetch = prefetch
        self._on_delivery = on_delivery
        self._wake = asyncio.Event()

    @property
    def store(self) -> MessageStore:
        """The message store."""
        return self._writer.store

    def wake(self) -> None:
        """Poll now instead of after the interval."""
        self._wake.set()

    async def poll(self, interval: float, visibility_timeout: float) -> None:
        """Receive due messages whenever at least half of the prefetch is free, until cancelled."""
        while True:
            self._wake.clear()
            free = self._prefetch - self._in_flight
            enough = free * 2 >= self._prefetch
            if not enough or await self._receive_unless_paused(free, visibility_timeout) < free:
                await self._sleep(interval)

    async def pause(self) -> None:
        """Receive no more messages; return when none is being received."""
        self._paused = True
        async with self._receiving:
            pass

    def resume(self) -> None:
        """Receive messages again."""
        self._paused = False
        self.wake()

    async def _receive_unless_paused(self, limit: int, visibility_timeout: float) -> int:
        async with self._receiving:
            if self._paused:
                return 0
            try:
                received = await self._receive(limit, visibility_timeout)
            except Exception as error:  # whatever it is, a later attempt may succeed
                self.status.failed(error)
                await asyncio.sleep(RETRY_DELAY)
                return 0
            self.status.succeeded()
            return received

    async def _receive(self, limit: int, visibility_timeout: float) -> int:
        due = await self._writer.run(self.store.next_due, self.name)
        if due is None or due > time():
            return 0
        operation = self._writer.submit(self.store.receive, self.name, self._owner, limit, visibility_timeout)
        try:
            received: list[tuple[DeliveryTag, Envelope]] = await asyncio.shield(operation.future)
        except asyncio.CancelledError:
            operation.future.add_done_callback(self._requeue_received)
            raise
        for tag, envelope in received:
            self._in_flight += 1
            self.unsettled.add(tag)
            self._on_delivery(SqliteDelivery(self, tag, envelope))
        return len(received)

    def _requeue_received(self, future: asyncio.Future[Any]) -> None:
        if not future.cancelled() and future.exception() is None:
            for tag, _ in future.result():
                self._writer.submit(self.store.requeue, tag)

    async def _sleep(self, interval: float) -> None:
        try:
            async with asyncio.timeout(interval):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def settle(self, function: Callable[..., bool], tag: DeliveryTag, *arguments: object) -> None:
        """Call *function* of the store with *tag*; raise SettlementFailed when the tag has expired."""
        self._in_flight -= 1
        if (self._prefetch - self._in_flight) * 2 >= self._prefetch:
            self._wake.set()
        try:
            async with asyncio.timeout(SETTLE_TIMEOUT):
                if not await self._writer.execute(function, tag, *arguments):
                    raise SettlementFailed("its visibility timeout expired, and it was delivered again")
        except (TimeoutError, sqlite3.Error) as error:
            raise SettlementFailed(f"the file cannot be written: {error}") from error
        finally:
            self.unsettled.discard(tag)


class SqliteDelivery:
    """A message in flight."""

    __slots__ = ("_subscription", "_tag", "envelope")
    redelivered = False

    def __init__(self, subscription: SqliteSubscription, tag: DeliveryTag, envelope: Envelope) -> None:
        self._subscription = subscription
        self._tag = tag
        self.envelope = envelope

    @property
    def is_exhausted(self) -> bool:
        """Whether the message was delivered too often."""
        return self._tag[2] > MAX_DELIVERIES

    async def ack(self) -> None:
        """Delete the message."""
        await self._subscription.settle(self._subscription.store.ack, self._tag)

    async def retry(self, delay: float, headers: Mapping[str, str]) -> None:
        """Make the message due after *delay* seconds."""
        retry = self.envelope.as_retry(delay, headers)
        await self._subscription.settle(self._subscription.store.retry, self._tag, retry)

    async def dead_letter(self, headers: Mapping[str, str]) -> None:
        """Make the message a dead letter."""
        letter = self.envelope.as_dead_letter(headers)
        await self._subscription.settle(self._subscription.store.dead_letter, self._tag, letter)

    async def requeue(self) -> None:
        """Make the message due now."""
        await self._subscription.settle(self._subscription.store.requeue, self._tag)
