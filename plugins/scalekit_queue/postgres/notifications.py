"""Wake consumers in other processes: NOTIFY after a batch of messages, LISTEN on a connection of its own.

A notification is sent after the commit, not in the transaction: a transaction with a notification holds a lock of the
whole server while it commits, so commits would no longer share a write to disk.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextvars import Context

from scalekit.contracts import Database

logger = logging.getLogger("scalekit.queue")

CHANNEL = "scalekit_queue"
NOTIFY = "SELECT pg_notify(:channel, name) FROM unnest(CAST(:names AS text[])) AS message (name)"
MIN_INTERVAL = 0.01
"""Seconds between two notifications of a process; names in between are sent together."""
NOTIFY_TIMEOUT = 5.0
"""Seconds in which a notification must be sent; if it is lost, consumers find its messages when they poll."""
LISTEN_DELAYS = (0.1, 0.5, 2.0, 10.0)
"""Seconds before the next attempts to listen, the last one again and again."""


class Notifier:
    """Sends the names of new messages on *database*, with *prefix* and coalesced."""

    def __init__(self, database: Database, prefix: str) -> None:
        self._database = database
        self._prefix = prefix
        self._names: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def notify(self, names: Iterable[str]) -> None:
        """Send *names* soon."""
        self._names.update(names)
        if self._task is None and self._names:
            self._task = asyncio.create_task(self._send_all(), context=Context())

    async def close(self) -> None:
        """Cancel what is not sent."""
        self._names.clear()
        if (task := self._task) is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _send_all(self) -> None:
        try:
            while self._names:
                names, self._names = self._names, set()
                try:
                    async with asyncio.timeout(NOTIFY_TIMEOUT):
                        await self._database.fetch_all(
                            NOTIFY, {"channel": CHANNEL, "names": [self._prefix + name for name in sorted(names)]}
                        )
                except Exception as error:
                    logger.debug("consumers in other processes were not notified: %s", error)
                await asyncio.sleep(MIN_INTERVAL)
        finally:
            self._task = None


async def listen(database: Database, on_name: Callable[[str], None]) -> None:
    """Call *on_name* with each name that a process sends, until cancelled."""
    attempt = 0
    while True:
        try:
            await database.listen(CHANNEL, on_name)
        except Exception as error:
            logger.debug("not notified of new messages, which are polled: %s", error)
        await asyncio.sleep(LISTEN_DELAYS[min(attempt, len(LISTEN_DELAYS) - 1)])
        attempt += 1
