"""The tables in the application's own database: what is to be published, and what has been consumed."""

from __future__ import annotations

from scalekit.contracts import Database

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


async def make_tables(database: Database) -> None:
    """Make the tables that are not there yet."""
    async with database.transaction():
        if database.dialect == "postgresql":
            await database.fetch_val("SELECT pg_advisory_xact_lock(:lock)", {"lock": LOCK})
        await database.execute(_OUTBOX.format(number=_NUMBER[database.dialect]))
        await database.execute(_INBOX)
        await database.execute(_INBOX_BY_AGE)
