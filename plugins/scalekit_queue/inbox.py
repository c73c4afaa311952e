"""The inbox table: deduplicate messages by id, in the transaction in which their handler writes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from time import time

from scalekit.contracts import Database, DatabaseSchema, TableDefinition

logger = logging.getLogger("scalekit.queue")

INBOX_TABLE = TableDefinition(
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
# A row older than the window no longer marks a duplicate; the insert takes it over.
INSERT_ID = """
INSERT INTO scalekit_queue_inbox (name, id, seen) VALUES (:name, :id, :now)
ON CONFLICT (name, id) DO UPDATE SET seen = excluded.seen WHERE scalekit_queue_inbox.seen < :before RETURNING 1
"""
FIND_ID = "SELECT 1 FROM scalekit_queue_inbox WHERE name = :name AND id = :id AND seen >= :before"
DELETE_BATCH = 1000
"""Rows that one statement deletes."""
DELETE_EXPIRED = f"""
DELETE FROM scalekit_queue_inbox WHERE name = :name AND id IN (
  SELECT id FROM scalekit_queue_inbox WHERE name = :name AND seen < :before LIMIT {DELETE_BATCH}
) RETURNING 1
"""
CLEANUP_INTERVAL = 5.0
"""Seconds between two clean-ups."""
BATCH_INTERVAL = 0.1
"""Seconds between two statements of a clean-up, so that other transactions are not kept waiting."""


class Inbox:
    """The ids of the messages named *name*, with the prefix of the service, that were handled in *window* seconds."""

    def __init__(self, database: Database, schema: DatabaseSchema, name: str, window: float) -> None:
        self.database = database
        self._schema = schema
        self._name = name
        self._window = window

    @asynccontextmanager
    async def transaction(self, message_id: str) -> AsyncGenerator[bool, None]:
        """Begin a transaction that records *message_id*; yield whether it is new.

        The record and the writes of the handler are committed together.
        """
        await self._schema.create()
        async with self.database.transaction():
            now = time()
            values = {"name": self._name, "id": message_id, "now": now, "before": now - self._window}
            yield await self.database.fetch_val(INSERT_ID, values) is not None

    async def contains(self, message_id: str) -> bool:
        """Return whether a handler's transaction that recorded *message_id* was committed within the window."""
        await self._schema.create()
        values = {"name": self._name, "id": message_id, "before": time() - self._window}
        return await self.database.fetch_val(FIND_ID, values) is not None

    async def delete_expired(self) -> None:
        """Delete the ids that are older than the window."""
        await self._schema.create()
        while True:
            values = {"name": self._name, "before": time() - self._window}
            if len(await self.database.fetch_all(DELETE_EXPIRED, values)) < DELETE_BATCH:
                return
            await asyncio.sleep(BATCH_INTERVAL)


async def run_cleanup(inboxes: Iterable[Inbox]) -> None:
    """Delete expired ids of *inboxes* periodically, until cancelled."""
    while True:
        for inbox in inboxes:
            try:
                await inbox.delete_expired()
            except Exception as error:
                logger.warning("expired rows of the inbox could not be deleted, will retry: %s", error)
        await asyncio.sleep(CLEANUP_INTERVAL)
