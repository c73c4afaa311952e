"""The PostgreSQL transport: messages in tables that all processes share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager
from functools import partial

from scalekit.contracts import Database, PublishFailed, Statements
from scalekit_queue.batch_writer import RETRY_DELAY, BatchWriter
from scalekit_queue.config import QueueConfig
from scalekit_queue.envelope import Envelope
from scalekit_queue.jobs.database import JobTable
from scalekit_queue.postgres.lease import ProcessLease
from scalekit_queue.postgres.notifications import Notifier, listen
from scalekit_queue.postgres.store import NewMessage, PostgresStore, new_lease
from scalekit_queue.postgres.subscription import CommittedHeaders, PostgresSubscription, SettlementWriters
from scalekit_queue.propagation import AFTER_COMMIT
from scalekit_queue.schedules.database_store import DatabaseScheduleStore
from scalekit_queue.statement_status import StatementStatus
from scalekit_queue.task_group import BackgroundTaskGroup
from scalekit_queue.transport import OnDelivery

MAX_BATCH_BYTES = 8 * 2**20
"""Bytes of messages that one statement inserts, unless one call publishes more."""
ENVELOPE_BYTES = 500
"""Bytes that a message counts beside its body."""
STOP_TIMEOUT = 3.0
"""Seconds to wait for messages that are being received when consuming stops."""
STATEMENT_TIMEOUT = 5.0
"""Seconds in which due messages must be found."""
JOB_SHARE = 4
"""One of so many connections is for jobs, which may wait for rows that transactions of the application have locked."""


class PostgresTransport:
    """Implements :class:`scalekit_queue.transport.Transport` with tables in *database*.

    *application* is DATABASE when the tables are in it, else None: messages can then be stored in its transactions.
    *committed_headers* returns the header of those.
    """

    system = "postgresql"
    delay_queues = ()

    def __init__(
        self,
        config: QueueConfig,
        database: Database,
        application: Database | None,
        committed_headers: CommittedHeaders,
    ) -> None:
        self._config = config
        self._database = database
        self._application = application
        self._committed_headers = committed_headers
        self._store = PostgresStore(database, config.prefix, new_lease())
        self._inserts: BatchWriter[Sequence[NewMessage], None] = BatchWriter(
            self._insert, MAX_BATCH_BYTES, "store messages"
        )
        self._settlements = SettlementWriters(self._store)
        self._polls = StatementStatus("find due messages")
        self._notifier = Notifier(database, config.prefix)
        self._subscriptions: dict[str, PostgresSubscription] = {}
        self._lease = ProcessLease(self._store, config.visibility_timeout, self._subscriptions.values())
        self._receiving = BackgroundTaskGroup()
        self._upkeep = BackgroundTaskGroup()

    @property
    def last_error(self) -> str:
        """The current errors of the database; empty while its statements succeed."""
        subscriptions = [each.status for each in self._subscriptions.values()]
        statuses = [self._inserts.status, *self._settlements.statuses, self._lease.status, self._polls, *subscriptions]
        return "; ".join(dict.fromkeys(each.last_error for each in statuses if each.last_error))

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None, None]:
        """Create the tables, and poll while inside; the database may be unavailable at the start."""
        await self._store.create_tables()
        self._upkeep.start(self._poll())
        try:
            yield
        finally:
            await self.stop_consuming()
            await asyncio.gather(self._inserts.close(), self._settlements.close(), self._notifier.close())
            await self._upkeep.cancel()
            if self._subscriptions:
                await self._lease.end()

    async def send(self, envelopes: Sequence[Envelope], timeout: float) -> list[PublishFailed | None]:
        """Insert *envelopes* in one transaction."""
        if self._inserts.waiting >= self._config.max_waiting:
            reason = f"{self._config.max_waiting} messages already wait to be stored (max_waiting)"
            return [PublishFailed(reason, False)] * len(envelopes)
        size = sum(len(each.body) + ENVELOPE_BYTES for each in envelopes)
        operation = self._inserts.submit([self._store.new_message(each) for each in envelopes], size)
        try:
            async with asyncio.timeout(timeout):
                await self._inserts.wait(operation)
        except TimeoutError:
            reason = self._inserts.status.last_error or "the database does not respond"
            return [PublishFailed(f"not stored within {timeout:g}s: {reason}", operation.started)] * len(envelopes)
        await self._announce({each.name for each in envelopes if not each.delay})
        return [None] * len(envelopes)

    @property
    def transactional(self) -> PostgresTransport | None:
        """The transport itself, when its tables are in the application's database."""
        return None if self._application is None else self

    async def store(self, database: Statements, envelope: Envelope) -> None:
        """Insert *envelope* in the current transaction of *database*, a transaction of the application."""
        await self._store_in(self._application or self._database, database, envelope)

    async def store_apart(self, database: Statements, envelope: Envelope) -> None:
        """Insert *envelope* in the current transaction of *database*, a transaction of the queue's own pool."""
        await self._store_in(self._database, database, envelope)

    def schedule_store(self) -> DatabaseScheduleStore:
        """Return the states of schedules in the same database."""
        return DatabaseScheduleStore(self._database, self.store_apart, self._config.prefix)

    def job_database(self) -> JobTable:
        """Return the jobs in the same database, which use a part of its connections."""
        is_transactional = self._application is not None
        limit = max(1, self._config.max_connections // JOB_SHARE)
        return JobTable(self._database, is_transactional, self.store_apart, max_statements=limit)

    def subscribe(self, name: str, prefetch: int, on_delivery: OnDelivery) -> None:
        """Deliver messages named *name* to *on_delivery* once consuming has started."""
        self._subscriptions[name] = PostgresSubscription(self._store, self._settlements, name, prefetch, on_delivery)

    def start_consuming(self) -> None:
        """Start to receive messages for every subscription."""
        if self._subscriptions:
            self._upkeep.start(self._lease.run())
            self._upkeep.start(listen(self._database, self._wake))
        for subscription in self._subscriptions.values():
            self._receiving.start(subscription.run(self._committed_headers))

    async def pause(self, name: str) -> None:
        """Stop receiving messages named *name*; return when none is being received."""
        await self._subscriptions[name].pause()

    async def resume(self, name: str) -> None:
        """Receive messages named *name* again."""
        self._subscriptions[name].resume()

    async def stop_consuming(self) -> None:
        """Stop receiving; messages already delivered can still be settled."""
        for subscription in self._subscriptions.values():
            subscription.stop()
        await self._receiving.wait(STOP_TIMEOUT)
        await self._receiving.cancel()

    async def _store_in(self, owner: Database, transaction: Statements, envelope: Envelope) -> None:
        """Insert *envelope* in *transaction*, which is that of the current task in *owner*."""
        envelope.headers[AFTER_COMMIT] = "1"
        await self._store.insert_in_transaction(transaction, envelope)
        if not envelope.delay:
            await owner.on_commit(partial(self._announce, {envelope.name}))

    async def _insert(self, calls: Sequence[Sequence[NewMessage]]) -> list[None]:
        await self._store.insert([message for messages in calls for message in messages])
        return [None] * len(calls)

    async def _announce(self, names: Collection[str]) -> None:
        """Wake the consumers of *names*, in this process at once and in others soon."""
        for name in names:
            if (subscription := self._subscriptions.get(name)) is not None:
                subscription.wake()
        self._notifier.notify(names)

    def _wake(self, name: str) -> None:
        if (subscription := self._subscriptions.get(name.removeprefix(self._config.prefix))) is not None:
            subscription.wake()

    async def _poll(self) -> None:
        """Wake the idle subscriptions whose messages are due, at each interval: notifications may be lost."""
        is_first = True
        while True:
            idle = [each.name for each in self._subscriptions.values() if each.is_idle]
            if idle or is_first or self._polls.last_error:
                for name in await self._find_due(idle):
                    self._subscriptions[name].wake()
            is_first = False
            await asyncio.sleep(self._config.poll_interval)

    async def _find_due(self, names: Sequence[str]) -> Sequence[str]:
        try:
            async with asyncio.timeout(STATEMENT_TIMEOUT):
                due = await self._store.find_due(names)
        except Exception as error:
            self._polls.failed(error)
            await asyncio.sleep(RETRY_DELAY)
            return []
        self._polls.succeeded()
        return due
