"""The jobs in the application's database, or in that of the queue."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from scalekit.contracts import Database, DatabaseSchema, Statements, TableDefinition
from scalekit_queue.jobs.statements import CREATE, RELATIONS
from scalekit_queue.jobs.store import Rows

TABLE = "scalekit_queue_jobs"
JOBS = TableDefinition(
    tuple(each.format(table=TABLE) for each in RELATIONS), tuple(each.format(table=TABLE) for each in CREATE)
)
TIMEOUT = 5.0
"""Seconds within which a statement must be committed."""


class JobTable:
    """Implements :class:`scalekit_queue.jobs.store.JobDatabase` with *database*.

    *is_transactional* is whether it is the application's database.
    """

    table = TABLE

    def __init__(self, database: Database, is_transactional: bool) -> None:
        self.is_transactional = is_transactional
        self._database = database
        self._schema = DatabaseSchema("queue", database, JOBS)

    @property
    def dialect(self) -> str:
        """The dialect of the database."""
        return self._database.dialect

    async def fetch(self, sql: str, values: Mapping[str, object]) -> Rows:
        """Create missing tables, execute *sql* and return its rows."""
        async with asyncio.timeout(TIMEOUT):
            await self._schema.create()
            return await self._database.fetch_all(sql, values)

    async def read(self, sql: str, values: Mapping[str, object]) -> Rows:
        """Create missing tables, execute *sql* and return its rows."""
        return await self.fetch(sql, values)

    async def fetch_in(self, transaction: Statements, sql: str, values: Mapping[str, object]) -> Rows:
        """Execute *sql* in the current transaction of *transaction*."""
        await self._schema.create_in_transaction(transaction)
        return await transaction.fetch_all(sql, values)
