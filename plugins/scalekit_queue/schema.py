"""The tables in the application's own database: what is to be published, and what has been consumed."""

from __future__ import annotations

import asyncio
import logging

from scalekit import Unavailable
from scalekit.contracts import Database, Statements

logger = logging.getLogger("scalekit.queue")

_OUTBOX = """
CREATE TABLE IF NOT EXISTS scalekit_queue_outbox (
  number {number},
  name TEXT NOT NULL,
  id TEXT NOT NULL,
  body TEXT NOT NULL,
  headers TEXT NOT NULL,
  published DOUBLE PRECISION NOT NULL,
  delay DOUBLE PRECISION NOT NULL,
  due DOUBLE PRECISION NOT NULL,
  claimed DOUBLE PRECISION NOT NULL
)
"""
_INBOX = """
CREATE TABLE IF NOT EXISTS scalekit_queue_inbox (
  name TEXT NOT NULL,
  id TEXT NOT NULL,
  seen DOUBLE PRECISION NOT NULL,
  PRIMARY KEY (name, id)
)
"""
_INBOX_BY_AGE = "CREATE INDEX IF NOT EXISTS scalekit_queue_inbox_seen ON scalekit_queue_inbox (name, seen)"
_NUMBER = {
    "sqlite": "INTEGER PRIMARY KEY AUTOINCREMENT",
    "postgresql": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
}
LOCK = 0x5CA1E417
"""PostgreSQL's advisory lock for making the tables: IF NOT EXISTS alone fails when two do it at once."""


_ARE_THERE = """
SELECT to_regclass('scalekit_queue_outbox') IS NOT NULL AND to_regclass('scalekit_queue_inbox') IS NOT NULL
AND to_regclass('scalekit_queue_inbox_seen') IS NOT NULL
"""


class OutboxSchema:
    """The tables in *database*, made as soon as that can be."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = asyncio.Lock()
        self._are_made = False

    async def make(self) -> None:
        """Make them unless they are there; outside of a transaction."""
        async with self._lock:
            if not self._are_made:
                await _make(self._database, self._database.dialect)
                self._are_made = True

    async def make_inside(self, transaction: Statements) -> None:
        """Make them in *transaction*, which may be rolled back."""
        if not self._are_made:
            await _make(transaction, self._database.dialect)

    async def make_at_start(self) -> None:
        """Make them; while the database is gone, the first operation that needs them does."""
        try:
            if trouble := self._database.unreachable_reason:
                raise Unavailable(trouble)
            await self.make()
        except (Unavailable, TimeoutError) as error:
            logger.warning("the tables of the queue are made once the database takes writes: %s", error)


async def _make(database: Statements, dialect: str) -> None:
    """Make the tables that are not there yet."""
    if dialect == "postgresql" and await database.fetch_val(_ARE_THERE):
        return  # IF NOT EXISTS asks for the right to create tables all the same
    async with database.transaction():
        if dialect == "postgresql":
            await database.fetch_val("SELECT pg_advisory_xact_lock(:lock)", {"lock": LOCK})
        await database.execute(_OUTBOX.format(number=_NUMBER[dialect]))
        await database.execute(_INBOX)
        await database.execute(_INBOX_BY_AGE)
