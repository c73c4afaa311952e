"""The tables of outbox and inbox in the application's database, and their creation."""

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
SCHEMA_LOCK = 0x5CA1E417
"""PostgreSQL's advisory lock for creating the tables: concurrent IF NOT EXISTS statements fail."""
_TABLES_EXIST = """
SELECT to_regclass('scalekit_queue_outbox') IS NOT NULL AND to_regclass('scalekit_queue_inbox') IS NOT NULL
AND to_regclass('scalekit_queue_inbox_seen') IS NOT NULL
"""


class QueueSchema:
    """Creates the tables in *database*, as soon as it accepts writes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = asyncio.Lock()
        self._created = False

    async def create(self) -> None:
        """Create the tables unless they exist; call it outside of a transaction."""
        async with self._lock:
            if not self._created:
                await _create_tables(self._database, self._database.dialect)
                self._created = True

    async def create_in_transaction(self, transaction: Statements) -> None:
        """Create the tables in *transaction*, which may be rolled back."""
        if not self._created:
            await _create_tables(transaction, self._database.dialect)

    async def create_at_start(self) -> None:
        """Create the tables; while the database is unavailable, the first operation that needs them creates them."""
        try:
            if reason := self._database.unreachable_reason:
                raise Unavailable(reason)
            await self.create()
        except (Unavailable, TimeoutError) as error:
            logger.warning("the queue's tables will be created once the database accepts writes: %s", error)


async def _create_tables(database: Statements, dialect: str) -> None:
    if dialect == "postgresql" and await database.fetch_val(_TABLES_EXIST):
        return  # IF NOT EXISTS needs the privilege to create tables even when they exist
    async with database.transaction():
        if dialect == "postgresql":
            await database.fetch_val("SELECT pg_advisory_xact_lock(:lock)", {"lock": SCHEMA_LOCK})
        await database.execute(_OUTBOX.format(number=_NUMBER[dialect]))
        await database.execute(_INBOX)
        await database.execute(_INBOX_BY_AGE)
