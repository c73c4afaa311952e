"""The tables of outbox and inbox in the application's database, and the creation of tables."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from scalekit import StartError, Unavailable
from scalekit.contracts import Database, Statements

logger = logging.getLogger("scalekit.queue")

SCHEMA_LOCK = 0x5CA1E417
"""PostgreSQL's advisory lock for creating the tables: concurrent IF NOT EXISTS statements fail."""
_NUMBER = {
    "sqlite": "INTEGER PRIMARY KEY AUTOINCREMENT",
    "postgresql": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
}
_RELATION_EXISTS = "SELECT to_regclass(:name) IS NOT NULL"


@dataclass(frozen=True, slots=True)
class TableDefinition:
    """The *statements* that create a table and its indexes, which have the names *relations*."""

    relations: tuple[str, ...]
    statements: tuple[str, ...]


OUTBOX = TableDefinition(
    ("scalekit_queue_outbox",),
    (
        """
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
""",
    ),
)
INBOX = TableDefinition(
    ("scalekit_queue_inbox", "scalekit_queue_inbox_seen"),
    (
        """
CREATE TABLE IF NOT EXISTS scalekit_queue_inbox (
  name TEXT NOT NULL,
  id TEXT NOT NULL,
  seen DOUBLE PRECISION NOT NULL,
  PRIMARY KEY (name, id)
)
""",
        "CREATE INDEX IF NOT EXISTS scalekit_queue_inbox_seen ON scalekit_queue_inbox (name, seen)",
    ),
)


class QueueSchema:
    """Creates *tables* in *database*, as soon as it accepts writes."""

    def __init__(self, database: Database, *tables: TableDefinition) -> None:
        if database.dialect not in _NUMBER:
            raise StartError(
                f"the queue's tables need PostgreSQL or SQLite, and [plugins.pool] has {database.dialect}; "
                "set outbox = false in [plugins.queue]"
            )
        self._database = database
        self._tables = tables
        self._lock = asyncio.Lock()
        self._created = False

    async def create(self) -> None:
        """Create the tables unless they exist; call it outside of a transaction."""
        if self._created:
            return
        async with self._lock:
            if not self._created:
                await self._create_missing(self._database)
                self._created = True

    async def create_in_transaction(self, transaction: Statements) -> None:
        """Create the tables in *transaction*, which may be rolled back."""
        if not self._created:
            await self._create_missing(transaction)

    async def create_at_start(self) -> None:
        """Create the tables; while the database is unavailable, the first operation that needs them creates them."""
        try:
            if reason := self._database.unreachable_reason:
                raise Unavailable(reason)
            await self.create()
        except (Unavailable, TimeoutError) as error:
            logger.warning("the queue's tables will be created once the database accepts writes: %s", error)

    async def _create_missing(self, database: Statements) -> None:
        dialect = self._database.dialect
        if dialect == "postgresql" and await self._exist(database):
            return  # IF NOT EXISTS needs the privilege to create tables even when they exist
        async with database.transaction():
            if dialect == "postgresql":
                await database.fetch_val("SELECT pg_advisory_xact_lock(:lock)", {"lock": SCHEMA_LOCK})
            for table in self._tables:
                for statement in table.statements:
                    await database.execute(statement.format(number=_NUMBER[dialect]))

    async def _exist(self, database: Statements) -> bool:
        for table in self._tables:
            for name in table.relations:
                if not await database.fetch_val(_RELATION_EXISTS, {"name": name}):
                    return False
        return True
