"""Hears of changes in a shared store, so that what the process has of it is true.

What was changed is dropped, that of the process itself included. When something was purged, the process has nothing to
say until it has read what. When it no longer hears of changes, it forgets everything before it answers again. Until
then ``synced`` is when what it has was last known to be true.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from math import inf
from time import monotonic

from scalekit_caching.items import Item, Key
from scalekit_caching.metrics import CachingMetrics
from scalekit_caching.shared_store import SharedStore
from scalekit_caching.shared_tag_versions import SharedTagVersions
from scalekit_caching.store import MemoryStore

logger = logging.getLogger("scalekit.caching")

DISCONNECTED_TTL = 0.8
"""Seconds for which items stand in unless somebody says otherwise."""
SPARE = 1000
"""Names of items beyond those that are there before they are looked through, and of changes that are remembered."""
CATCHING_UP = 2.0
"""Seconds that reading what was purged may take, which no request waits for."""
FIRST_PAUSE, LAST_PAUSE = 0.05, 2.0
"""Seconds between two attempts to read what was purged."""


class ClientSideCaching:
    """Keeps *local* true to *frames*; *live* tells that it is, and *changes* counts what was heard."""

    def __init__(
        self,
        local: MemoryStore,
        frames: SharedStore,
        purges: SharedTagVersions,
        metrics: CachingMetrics,
        disconnected_ttl: float = DISCONNECTED_TTL,
    ) -> None:
        self.live = False
        self.synced = -inf
        self._local = local
        self._frames = frames
        self._purges = purges
        self._metrics = metrics
        self._disconnected_ttl = disconnected_ttl
        self._heard = False
        self._behind = False
        self._known: int | None = None
        self._names: dict[bytes, Key] = {}
        self.changes = 0
        self._changed: dict[bytes, int] = {}
        self._forgotten = 0
        self._learning: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def following(self) -> AsyncGenerator[None, None]:
        """Hear of changes while inside."""
        try:
            async with self._frames.follow(self):
                yield
        finally:
            self.ended(monotonic())
            if self._learning is not None:
                self._learning.cancel()
                await asyncio.gather(self._learning, return_exceptions=True)

    def changed_since(self, name: bytes, changes: int) -> bool:
        """Tell whether what is under *name* may be another since there were so many *changes*."""
        if changes == self.changes:
            return False
        return changes < self._forgotten or self._changed.get(name, 0) > changes

    def stand_in(self, key: Key) -> Item | None:
        """Return what *local* has under *key* while nobody can be asked, if it was true a short time ago."""
        item = self._local.peek(key)
        if item is None or monotonic() - max(item.seen, self.synced) > self._disconnected_ttl:
            return None
        return item.as_fallback()

    def kept(self, name: bytes, item: Item) -> None:
        """Take note that *local* has the *item* that is under *name* in the shared store."""
        if not self.live:
            item.seen = monotonic()
        if self._heard:
            self._names[name] = item.key
            items = self._local.table.items
            if len(self._names) > 2 * len(items) + SPARE:
                self._names = {name: key for name, key in self._names.items() if key in items}

    def begun(self) -> None:
        """Take note that from now on every change is told, and that none before was."""
        self._heard, self._known = True, None
        self.purged()

    def ended(self, proved: float) -> None:
        """Take note that changes are no longer told; those until *proved* have been."""
        self._heard = False
        self._lose(proved)

    def changed(self, keys: Sequence[bytes]) -> None:
        """Drop what is under *keys*."""
        self.changes += 1
        if len(self._changed) > SPARE:
            self._forget_changes()
        for name in keys:
            self._changed[name] = self.changes
            key = self._names.pop(name, None)
            if key is not None:
                self._local.table.remove(key)

    def purged(self) -> None:
        """Read what was purged, and say nothing until it is known."""
        self._lose(monotonic())
        self._behind = True
        if self._learning is None or self._learning.done():
            self._learning = asyncio.create_task(self._learn())

    async def _learn(self) -> None:
        pause = FIRST_PAUSE
        while self._heard and self._behind:
            self._behind = False
            try:
                await self._read()
                pause = FIRST_PAUSE
            except Exception as error:
                self._metrics.failed(type(error).__name__)
                self._behind = True
                await asyncio.sleep(pause)
                pause = min(2 * pause, LAST_PAUSE)
        self._show(self._heard)

    async def _read(self) -> None:
        known = self._known
        told = None if known is None else await self._frames.purges(known, CATCHING_UP)
        if told is None:
            number = await self._frames.number(CATCHING_UP)
            self._forget_everything()
        else:
            for tag, number in told.items():
                self._local.generations.advance((tag,), number)
            number = max(told.values(), default=known or 0)
        if self._known is known:  # else the connection was lost meanwhile
            self._known = number
            self._purges.see(max(number, self._purges.number))

    def _forget_everything(self) -> None:
        self.changes += 1
        self._forget_changes()
        self._local.table.clear()
        self._names.clear()

    def _forget_changes(self) -> None:
        self._forgotten = self.changes
        self._changed.clear()

    def _lose(self, synced: float) -> None:
        if self.live:
            self.synced = synced
        self._show(False)

    def _show(self, live: bool) -> None:
        self.live = live
        self._metrics.live.set(int(live))
