"""The jobs in the queue's file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from scalekit.contracts import Statements
from scalekit_queue.envelope import Envelope
from scalekit_queue.jobs.statements import CREATE
from scalekit_queue.jobs.store import Rows
from scalekit_queue.sqlite.group_commit import GroupCommitWriter

TIMEOUT = 5.0
"""Seconds within which a statement must be committed."""


class JobFile:
    """Implements :class:`scalekit_queue.jobs.store.JobDatabase` with *writer*; *wake* wakes the consumers."""

    dialect = "sqlite"
    table = "jobs"
    is_transactional = False

    def __init__(self, writer: GroupCommitWriter, wake: Callable[[], None]) -> None:
        self._writer = writer
        self._wake = wake
        self._created = False

    async def fetch(self, sql: str, values: Mapping[str, object]) -> Rows:
        """Create the missing tables, execute *sql* and return its rows."""
        async with asyncio.timeout(TIMEOUT):
            await self._create_missing()
            rows: Rows = await self._writer.execute(self._execute, sql, values)
        return rows

    async def read(self, sql: str, values: Mapping[str, object]) -> Rows:
        """Create the missing tables, execute *sql* without a transaction, and return its rows."""
        async with asyncio.timeout(TIMEOUT):
            await self._create_missing()
            rows: Rows = await self._writer.run(self._execute, sql, values)
        return rows

    async def fetch_in(self, transaction: Statements, sql: str, values: Mapping[str, object]) -> Rows:
        """Raise NotImplementedError: no transaction of the application has the file."""
        raise NotImplementedError

    async def fetch_and_publish(self, sql: str, values: Mapping[str, object], envelope: Envelope) -> Rows:
        """Execute *sql* and, if it returns rows, insert *envelope*, in one transaction."""
        async with asyncio.timeout(TIMEOUT):
            await self._create_missing()
            rows: Rows = await self._writer.execute(self._execute_and_insert, sql, values, envelope)
        self._wake()
        return rows

    async def _create_missing(self) -> None:
        if not self._created:
            await self._writer.execute(self._create)
            self._created = True

    def _create(self) -> None:
        for statement in CREATE:
            self._writer.store.raw.execute(statement.format(table=self.table))

    def _execute(self, sql: str, values: Mapping[str, object]) -> Rows:
        return self._writer.store.raw.execute(sql, values).fetchall()

    def _execute_and_insert(self, sql: str, values: Mapping[str, object], envelope: Envelope) -> Rows:
        rows = self._execute(sql, values)
        if rows:
            self._writer.store.insert([envelope])
        return rows
