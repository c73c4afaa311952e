"""Which messages have been consumed, remembered in the transaction in which their handlers write."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from time import time

from scalekit.contracts import Database
from scalekit_queue.schema import OutboxSchema

logger = logging.getLogger("scalekit.queue")

# A row that is older than the window stands for nothing: it is taken over.
ENTER = """
INSERT INTO scalekit_queue_inbox (name, id, seen) VALUES (:name, :id, :now)
ON CONFLICT (name, id) DO UPDATE SET seen = excluded.seen WHERE scalekit_queue_inbox.seen < :before RETURNING 1
"""
FORGET = """
DELETE FROM scalekit_queue_inbox WHERE name = :name AND id IN (
  SELECT id FROM scalekit_queue_inbox WHERE name = :name AND seen < :before LIMIT 1000
)
"""
SWEEP_EVERY = 5.0
"""Seconds between two sweeps, each of at most a thousand messages of a name."""


class Inbox:
    """The messages *name* that were consumed within *window* seconds."""

    def __init__(self, database: Database, tables: OutboxSchema, name: str, window: float) -> None:
        self._database = database
        self._tables = tables
        self._name = name
        self._window = window

    @asynccontextmanager
    async def entered(self, identifier: str) -> AsyncGenerator[bool, None]:
        """Give whether the message is new; what is written inside lasts together with that it was consumed."""
        await self._tables.make()
        async with self._database.transaction():
            now = time()
            values = {"name": self._name, "id": identifier, "now": now, "before": now - self._window}
            yield await self._database.fetch_val(ENTER, values) is not None

    async def sweep(self) -> None:
        """Forget some of what was consumed before the window."""
        await self._tables.make()
        values = {"name": self._name, "before": time() - self._window}
        await self._database.execute(FORGET, values)


async def run_sweeper(inboxes: Iterable[Inbox]) -> None:
    """Sweep *inboxes* again and again, until cancelled."""
    while True:
        for inbox in inboxes:
            try:
                await inbox.sweep()
            except Exception as error:
                logger.warning("old entries of the inbox could not be dropped: %s", error)
        await asyncio.sleep(SWEEP_EVERY)
