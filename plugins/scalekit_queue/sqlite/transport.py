"""Messages in a SQLite file, which the processes of one machine share."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from time import time
from typing import Any

from scalekit.contracts import PublishFailed
from scalekit_queue.envelope import Envelope, OnDelivery, SettlementFailed
from scalekit_queue.sqlite.group_commit import GroupCommitWriter
from scalekit_queue.sqlite.store import DeliveryTag, MessageStore
from scalekit_queue.task_group import BackgroundTaskGroup

SETTLE_LIMIT = 10.0
"""Seconds that settling a message may take."""


class SqliteTransport:
    """Carries messages through a file; see :class:`scalekit_queue.envelope.Transport`."""

    def __init__(self, file: str, synchronous: str, lease: float, poll: float, max_waiting: int) -> None:
        self._writer = GroupCommitWriter(MessageStore(file, synchronous))
        self._owner = f"{os.getpid()}-{os.urandom(8).hex()}"
        self._lease = lease
        self._poll = poll
        self._max_waiting = max_waiting
        self._subscriptions: list[SqliteSubscription] = []
        self._takers = BackgroundTaskGroup()

    @property
    def trouble(self) -> str:
        """What is wrong with the file now; empty while all is well."""
        return self._writer.trouble

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Have the file open while inside."""
        async with self._writer.running():
            renewing = BackgroundTaskGroup()
            renewing.begin(self._renew_on())
            try:
                yield
            finally:
                await self._takers.cancel()
                await renewing.cancel()

    async def send(self, envelopes: Sequence[Envelope], timeout: float) -> list[PublishFailed | None]:
        """Store *envelopes*, all in one transaction."""
        if self._writer.waiting >= self._max_waiting:
            return [PublishFailed("too many messages wait to be stored", False)] * len(envelopes)
        operation = self._writer.begin(self._writer.store.insert, envelopes)
        try:
            async with asyncio.timeout(timeout):
                await self._writer.wait(operation)
        except TimeoutError:
            why = self.trouble or "the disk is slow, or other processes write"
            return [PublishFailed(f"not stored within {timeout:g}s: {why}", operation.begun)] * len(envelopes)
        except sqlite3.Error as error:
            return [PublishFailed(f"not stored: {error}", False)] * len(envelopes)
        for subscription in self._subscriptions:
            subscription.look()
        return [None] * len(envelopes)

    def subscribe(self, name: str, prefetch: int, take: OnDelivery) -> None:
        """Have messages *name* delivered to *take* while running."""
        self._subscriptions.append(SqliteSubscription(self._writer, self._owner, name, prefetch, take))

    def begin(self) -> None:
        """Begin to take what was subscribed to."""
        for subscription in self._subscriptions:
            self._takers.begin(subscription.take_on(self._poll, self._lease))

    async def pause(self) -> None:
        """Take no more messages."""
        await self._takers.cancel()

    async def _renew_on(self) -> None:
        while True:
            await asyncio.sleep(self._lease / 3)
            if any(subscription.held for subscription in self._subscriptions):
                await self._writer.write(self._writer.store.renew, self._owner, self._lease)


class SqliteSubscription:
    """Who takes the messages of one name, and how many it holds."""

    def __init__(self, writer: GroupCommitWriter, owner: str, name: str, prefetch: int, take: OnDelivery) -> None:
        self.held = 0
        self._writer = writer
        self._owner = owner
        self._name = name
        self._prefetch = prefetch
        self._take = take
        self._wake = asyncio.Event()

    def look(self) -> None:
        """Look at once whether there is something to take."""
        self._wake.set()

    async def take_on(self, poll: float, lease: float) -> None:
        """Take what is due as soon as there is room for half of what may be held."""
        while True:
            self._wake.clear()
            room = self._prefetch - self.held
            has_room = room * 2 >= self._prefetch
            if not has_room or await self._take_some(room, lease) < room:
                await self._wait(poll)

    async def _take_some(self, room: int, lease: float) -> int:
        store = self._writer.store
        due = await self._writer.run(store.next_due, self._name)
        if due is None or due > time():
            return 0
        operation = self._writer.begin(store.take, self._name, self._owner, room, lease)
        try:
            found: list[tuple[DeliveryTag, Envelope]] = await asyncio.shield(operation.future)
        except asyncio.CancelledError:
            operation.future.add_done_callback(self._give_back)
            raise
        for held, envelope in found:
            self.held += 1
            self._take(SqliteDelivery(self, held, envelope))
        return len(found)

    def _give_back(self, future: asyncio.Future[Any]) -> None:
        if not future.cancelled() and future.exception() is None:
            for held, _ in future.result():
                self._writer.begin(self._writer.store.release, held)

    async def _wait(self, poll: float) -> None:
        try:
            async with asyncio.timeout(poll):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def settle(self, function: Any, held: DeliveryTag, *arguments: Any) -> None:
        """Call *function* of the store for *held*; raises SettlementFailed when it is held no more."""
        self.held -= 1
        if (self._prefetch - self.held) * 2 >= self._prefetch:
            self._wake.set()
        try:
            async with asyncio.timeout(SETTLE_LIMIT):
                if not await self._writer.write(function, held, *arguments):
                    raise SettlementFailed("its lease was over, and it was taken again")
        except (TimeoutError, sqlite3.Error) as error:
            raise SettlementFailed(f"the file cannot be written to: {error}") from error

    @property
    def store(self) -> MessageStore:
        """Where the messages are."""
        return self._writer.store


class SqliteDelivery:
    """A message that a consumer holds."""

    __slots__ = ("_held", "_subscription", "envelope")
    lost = False

    def __init__(self, subscription: SqliteSubscription, held: DeliveryTag, envelope: Envelope) -> None:
        self._subscription = subscription
        self._held = held
        self.envelope = envelope

    async def done(self) -> None:
        """Forget it."""
        await self._subscription.settle(self._subscription.store.done, self._held)

    async def retry(self, delay: float, headers: Mapping[str, str]) -> None:
        """Have it delivered again after *delay*."""
        await self._subscription.settle(self._subscription.store.retry, self._held, self.envelope.again(delay, headers))

    async def bury(self, headers: Mapping[str, str]) -> None:
        """Make it a dead letter."""
        await self._subscription.settle(self._subscription.store.bury, self._held, self.envelope.buried(headers))

    async def release(self) -> None:
        """Give it back."""
        await self._subscription.settle(self._subscription.store.release, self._held)
