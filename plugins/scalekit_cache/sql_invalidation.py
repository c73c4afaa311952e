"""Purge what was made from a table when that has changed.

A change is not undone because a purge fails. Then the purge is owed: the process answers nothing from what is kept
until the shared store has taken it, and tries again and again. Where nobody knows whether a change has come to last, or
will yet, its tables are purged every second until it must have been decided.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Self

from scalekit.contracts import Tables
from scalekit.telemetry import GaugeSeries
from scalekit_cache.table_tags import ANY_TABLE, READ, tags_of
from scalekit_caching.metrics import CachingMetrics
from scalekit_caching.store import Store

logger = logging.getLogger("scalekit.cache")

MOST_TAGS = 1000
"""Tags that are owed or in doubt; in place of more it is everything that was made from a table."""
FIRST_PAUSE, LAST_PAUSE = 0.05, 2.0
"""Seconds between two attempts to purge what is owed."""
DOUBT = 30.0
"""Seconds after which a statement that was cut has been done or not."""
BETWEEN_DOUBTS = 1.0


class SqlInvalidation:
    """Hears which tables are read and changed, and purges from *store*.

    *suspend* is called with whether nothing may be answered from what is kept; *owing* shows how many tags are owed.
    """

    def __init__(
        self, store: Store, metrics: CachingMetrics, suspend: Callable[[bool], None], owing: GaugeSeries
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._suspend = suspend
        self._owing = owing
        self._owed: set[bytes] = set()
        self._doubtful: dict[bytes, float] = {}
        self._purges: set[asyncio.Task[None]] = set()
        self._paying: asyncio.Task[None] | None = None
        self._doubting: asyncio.Task[None] | None = None

    def read(self, tables: Tables) -> None:
        """Take note that *tables* are about to be read for the answer that is being made here, if there is one."""
        read = READ.get()
        if read is not None:
            read.add(tables)

    async def wrote(self, tables: Tables) -> None:
        """Purge what was made from *tables*; who is cancelled meanwhile does not take the purge along."""
        tags = _purged_with(tables)
        if not tags:
            return
        if self._store.shared:
            await asyncio.shield(self._start(self._purge(tags)))
        else:
            await self._purge(tags)

    def may_have_written(self, tables: Tables) -> None:
        """Purge what was made from *tables* now and until it must be decided."""
        tags = _purged_with(tables)
        if not tags:
            return
        self._start(self._purge(tags))
        if len(self._doubtful) > MOST_TAGS:
            tags = (ANY_TABLE,)
        self._doubtful |= dict.fromkeys(tags, asyncio.get_running_loop().time() + DOUBT)
        if self._doubting is None or self._doubting.done():
            self._doubting = asyncio.create_task(self._purge_doubtful())

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Self, None]:
        """Return itself, and finish what is on its way at the end."""
        try:
            yield self
        finally:
            await asyncio.gather(*self._purges, return_exceptions=True)
            tasks = [task for task in (self._paying, self._doubting) if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._purges.add(task)
        task.add_done_callback(self._purges.discard)
        return task

    async def _purge(self, tags: tuple[bytes, ...]) -> None:
        if not self._owed and await self._try(tags):
            return
        self._owed |= set(tags)
        if len(self._owed) > MOST_TAGS:
            self._owed = {ANY_TABLE}
        self._owing.set(len(self._owed))
        if self._paying is None or self._paying.done():
            self._suspend(True)
            logger.error("nothing is answered from the cache until the shared store has taken a purge of tables")
            self._paying = asyncio.create_task(self._pay())

    async def _try(self, tags: tuple[bytes, ...]) -> bool:
        try:
            await self._store.purge(tags)
        except Exception as error:
            self._metrics.failed(type(error).__name__)
            return False
        self._metrics.purges.inc()
        return True

    async def _pay(self) -> None:
        pause = FIRST_PAUSE
        while self._owed:
            await asyncio.sleep(pause)
            pause = min(2 * pause, LAST_PAUSE)
            tags = tuple(self._owed)
            if await self._try(tags):
                self._owed = self._owed.difference(tags)
                self._owing.set(len(self._owed))
        logger.info("the shared store has taken every purge of tables")
        self._suspend(False)

    async def _purge_doubtful(self) -> None:
        loop = asyncio.get_running_loop()
        while self._doubtful:
            await asyncio.sleep(BETWEEN_DOUBTS)
            now, tags = loop.time(), tuple(self._doubtful)
            await self._purge(tags)
            self._doubtful = {tag: until for tag, until in self._doubtful.items() if until > now}


def _purged_with(tables: Tables) -> tuple[bytes, ...]:
    return (ANY_TABLE,) if tables is None else tags_of(tables)
