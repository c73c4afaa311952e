"""The table of stored responses in the application's database, and its creation."""

from __future__ import annotations

import asyncio
import logging

from scalekit import StartError, Unavailable
from scalekit.contracts import Database

logger = logging.getLogger("scalekit.idempotency")

_TABLE = """
CREATE TABLE IF NOT EXISTS scalekit_idempotency (
  id TEXT PRIMARY KEY,
  key TEXT NOT NULL,
  subject TEXT NOT NULL,
  method TEXT NOT NULL,
  path TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  status INTEGER NOT NULL,
  headers TEXT NOT NULL,
  body {bytes} NOT NULL,
  created DOUBLE PRECISION NOT NULL,
  expires DOUBLE PRECISION NOT NULL
)
"""
_INDEX = "CREATE INDEX IF NOT EXISTS scalekit_idempotency_expires ON scalekit_idempotency (expires)"
_BYTES = {"sqlite": "BLOB", "postgresql": "BYTEA"}
SCHEMA_LOCK = 0x5CA1E41D
"""PostgreSQL's advisory lock for creating the table: concurrent IF NOT EXISTS statements fail."""
_EXISTS = """
SELECT to_regclass('scalekit_idempotency') IS NOT NULL AND to_regclass('scalekit_idempotency_expires') IS NOT NULL
"""


class IdempotencySchema:
    """Creates the table in *database*, as soon as it accepts writes."""

    def __init__(self, database: Database) -> None:
        if database.dialect not in _BYTES:
            raise StartError(
                f"the table of keys needs PostgreSQL or SQLite, and [plugins.pool] has {database.dialect}; "
                'set store = "redis" or "memory" in [plugins.idempotency]'
            )
        self._database = database
        self._lock = asyncio.Lock()
        self._created = False

    async def create(self) -> None:
        """Create the table unless it exists; call it outside of a transaction."""
        if self._created:
            return
        async with self._lock:
            await self._create_table()
            self._created = True

    async def create_at_start(self) -> None:
        """Create the table; while the database is unavailable, the first request with a key creates it."""
        try:
            if reason := self._database.unreachable_reason:
                raise Unavailable(reason)
            await self.create()
        except (Unavailable, TimeoutError) as error:
            logger.warning("the table of idempotency keys will be created once the database accepts writes: %s", error)

    async def _create_table(self) -> None:
        database = self._database
        is_postgres = database.dialect == "postgresql"
        if is_postgres and await database.fetch_val(_EXISTS):
            return  # IF NOT EXISTS needs the privilege to create tables even when they exist
        async with database.transaction():
            if is_postgres:
                await database.fetch_val("SELECT pg_advisory_xact_lock(:lock)", {"lock": SCHEMA_LOCK})
            await database.execute(_TABLE.format(bytes=_BYTES[database.dialect]))
            await database.execute(_INDEX)
