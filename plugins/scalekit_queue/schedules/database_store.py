"""The states of schedules in the application's database, changed in the transaction that stores their messages."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from time import time

from scalekit.contracts import Database, DatabaseSchema, Statements, TableDefinition
from scalekit_queue.envelope import Envelope
from scalekit_queue.schedules.state import CREATE, DELETE_UNSEEN, LOCK, READ, WRITE, ScheduleState, StateChange, Update

TABLE = "scalekit_queue_schedules"
SCHEDULES = TableDefinition((TABLE,), (CREATE.format(table=TABLE),))
_READ, _LOCK, _WRITE, _DELETE = (statement.format(table=TABLE) for statement in (READ, LOCK, WRITE, DELETE_UNSEEN))
_NOW = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint"
TIMEOUT = 5.0
"""Seconds within which a transaction must be committed."""

StoreMessage = Callable[[Statements, Envelope], Awaitable[None]]


class DatabaseScheduleStore:
    """Implements :class:`scalekit_queue.schedules.state.ScheduleStore` with *database*.

    *store_message* stores a message in the current transaction; *prefix* is that of the service. The clock is that of
    PostgreSQL, and with SQLite that of this machine.
    """

    def __init__(self, database: Database, store_message: StoreMessage, prefix: str) -> None:
        self._database = database
        self._store_message = store_message
        self._prefix = prefix
        self._schema = DatabaseSchema("queue", database, SCHEDULES)

    async def read(self) -> tuple[int, Mapping[str, ScheduleState]]:
        """Return the time of the database, and the states by name."""
        async with asyncio.timeout(TIMEOUT):
            await self._schema.create()
            rows = await self._database.fetch_all(_READ, {"prefix": self._prefix})
            return await self._now(), {row[0]: ScheduleState(*row) for row in rows}

    async def change(self, name: str, update: Update) -> StateChange:
        """Apply *update* to the state of *name* and store its messages in one transaction."""
        async with asyncio.timeout(TIMEOUT):
            await self._schema.create()
            async with self._database.transaction():
                return await self._change(name, update)

    async def delete_unseen(self, before: int) -> None:
        """Delete the states that no process has had since *before*."""
        async with asyncio.timeout(TIMEOUT):
            await self._database.execute(_DELETE, {"prefix": self._prefix, "before": before})

    async def _change(self, name: str, update: Update) -> StateChange:
        row = await self._database.fetch_one(_LOCK, {"prefix": self._prefix, "name": name})
        state = ScheduleState(name) if row is None else ScheduleState(*row)
        change = update(state, await self._now())
        if change.state != state:
            await self._database.execute(_WRITE, {"prefix": self._prefix, **change.state.values()})
        for envelope in change.envelopes:
            await self._store_message(self._database, envelope)
        return change

    async def _now(self) -> int:
        if self._database.dialect == "postgresql":
            return int(await self._database.fetch_val(_NOW))
        return round(time() * 1000)
