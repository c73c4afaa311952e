"""The jobs in the application's database, or in that of the queue."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext

from scalekit.contracts import Database, DatabaseSchema, Statements, TableDefinition
from scalekit_queue.envelope import Envelope
from scalekit_queue.jobs.statements import CREATE, RELATIONS
from scalekit_queue.jobs.store import Rows

TABLE = "scalekit_queue_jobs"
JOBS = TableDefinition(
    tuple(each.format(table=TABLE) for each in RELATIONS), tuple(each.format(table=TABLE) for each in CREATE)
)
StoreMessage = Callable[[Statements, Envelope], Awaitable[None]]
TIMEOUT = 5.0
"""Seconds within which a statement must be committed."""


class JobTable:
    """Implements :class:`scalekit_queue.jobs.store.JobDatabase` with *database*.

    *is_transactional* is whether it is the application's database. *store_message* stores a message in the current
    transaction of *database*. At most *max_statements* are executed at a time, so that the other users of its
    connections need not wait for statements that wait for locks.
    """

    table = TABLE

    def __init__(
        self,
        database: Database,
        is_transactional: bool,
        store_message: StoreMessage | None = None,
        max_statements: int | None = None,
    ) -> None:
        self.is_transactional = is_transactional
        self.store_message = store_message
        self._database = database
        self._permits = nullcontext() if max_statements is None else asyncio.Semaphore(max_statements)
        self._schema = DatabaseSchema("queue", database, JOBS)

    @property
    def dialect(self) -> str:
        """The dialect of the database."""
        return self._database.dialect

    async def fetch(self, sql: str, values: Mapping[str, object]) -> Rows:
        """Create missing tables, execute *sql* and return its rows."""
        async with asyncio.timeout(TIMEOUT), self._permits:
            await self._schema.create()
            return await self._database.fetch_all(sql, values)

    async def read(self, sql: str, values: Mapping[str, object]) -> Rows:
        """Create missing tables, execute *sql* and return its rows."""
        return await self.fetch(sql, values)

    async def fetch_in(self, transaction: Statements, sql: str, values: Mapping[str, object]) -> Rows:
        """Execute *sql* in the current transaction of *transaction*."""
        await self._schema.create_in_transaction(transaction)
        return await transaction.fetch_all(sql, values)

    async def fetch_and_publish(self, sql: str, values: Mapping[str, object], envelope: Envelope) -> Rows:
        """Execute *sql* and, if it returns rows, store *envelope*, in one transaction."""
        if self.store_message is None:
            raise RuntimeError("no outbox: set outbox = true in [plugins.queue]")
        async with asyncio.timeout(TIMEOUT), self._permits:
            await self._schema.create()
            async with self._database.transaction():
                if rows := await self._database.fetch_all(sql, values):
                    await self.store_message(self._database, envelope)
                return rows
