"""Client-side caching: invalidate the local level when any process changes the shared store.

A changed item is dropped from the local level, even if this process has changed it. After a purge the local level is
out of sync until the purged tags have been read. When changes are no longer reported, the local level is emptied before
it serves items again; until then ``synced_until`` is the time up to which it was in sync.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from math import inf
from time import monotonic

from scalekit_caching.items import Item, Key
from scalekit_caching.memory_store import MemoryStore
from scalekit_caching.metrics import CachingMetrics
from scalekit_caching.shared_store import SharedStore
from scalekit_caching.tag_versions import SharedTagVersions

DISCONNECTED_TTL = 0.8
"""Default of the seconds for which local items are served while the shared store is unavailable."""
SPARE_NAMES = 1000
"""Names beyond those of local items before unused ones are removed, and changes that are recorded."""
SYNC_TIMEOUT = 2.0
"""Timeout in seconds of reading the purged tags; no request waits for it."""
MIN_RETRY_INTERVAL, MAX_RETRY_INTERVAL = 0.05, 2.0
"""Seconds between two attempts to read the purged tags."""


class ClientSideCaching:
    """Keeps *local* in sync with *shared_store*: ``in_sync`` is whether it is, ``changes`` counts reported changes."""

    def __init__(
        self,
        local: MemoryStore,
        shared_store: SharedStore,
        versions: SharedTagVersions,
        metrics: CachingMetrics,
        disconnected_ttl: float = DISCONNECTED_TTL,
    ) -> None:
        self.in_sync = False
        self.synced_until = -inf
        self.changes = 0
        self._local = local
        self._shared_store = shared_store
        self._versions = versions
        self._metrics = metrics
        self._disconnected_ttl = disconnected_ttl
        self._tracking = False
        self._purges_unread = False
        self._synced_version: int | None = None
        self._names: dict[bytes, Key] = {}
        self._changed: dict[bytes, int] = {}
        self._forgotten_changes = 0
        self._syncing: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Receive changes while inside."""
        try:
            async with self._shared_store.subscribe(self):
                yield
        finally:
            self.on_lost(monotonic())
            if self._syncing is not None:
                self._syncing.cancel()
                await asyncio.gather(self._syncing, return_exceptions=True)

    def changed_since(self, name: bytes, changes: int) -> bool:
        """Return whether the item *name* may have changed since the count of changes was *changes*."""
        if changes == self.changes:
            return False
        return changes < self._forgotten_changes or self._changed.get(name, 0) > changes

    def fallback(self, key: Key) -> Item | None:
        """Return the local item under *key* while the shared store is unavailable, if it was in sync a moment ago."""
        item = self._local.peek(key)
        if item is None or monotonic() - max(item.confirmed_at, self.synced_until) > self._disconnected_ttl:
            return None
        return item.as_fallback()

    def track(self, name: bytes, item: Item) -> None:
        """Track the local *item*, which has *name* in the shared store."""
        if not self.in_sync:
            item.confirmed_at = monotonic()
        if self._tracking:
            self._names[name] = item.key
            items = self._local.table.items
            if len(self._names) > 2 * len(items) + SPARE_NAMES:
                self._names = {name: key for name, key in self._names.items() if key in items}

    def on_start(self) -> None:
        """Empty the local level: changes before now were not reported."""
        self._tracking, self._synced_version = True, None
        self.on_purge()

    def on_lost(self, confirmed_until: float) -> None:
        """Stop serving local items; changes up to *confirmed_until* were reported."""
        self._tracking = False
        self._lose_sync(confirmed_until)

    def on_change(self, keys: Sequence[bytes]) -> None:
        """Drop the local items with the names *keys*."""
        self.changes += 1
        if len(self._changed) > SPARE_NAMES:
            self._forget_changes()
        for name in keys:
            self._changed[name] = self.changes
            key = self._names.pop(name, None)
            if key is not None:
                self._local.table.remove(key)

    def on_purge(self) -> None:
        """Read the purged tags; local items are not served until they are known."""
        self._lose_sync(monotonic())
        self._purges_unread = True
        if self._syncing is None or self._syncing.done():
            self._syncing = asyncio.create_task(self._sync())

    async def _sync(self) -> None:
        pause = MIN_RETRY_INTERVAL
        while self._tracking and self._purges_unread:
            self._purges_unread = False
            try:
                await self._read_purges()
                pause = MIN_RETRY_INTERVAL
            except Exception as error:
                self._metrics.count_failure(type(error).__name__)
                self._purges_unread = True
                await asyncio.sleep(pause)
                pause = min(2 * pause, MAX_RETRY_INTERVAL)
        self._set_in_sync(self._tracking)

    async def _read_purges(self) -> None:
        synced = self._synced_version
        purges = None if synced is None else await self._shared_store.purges_after(synced, SYNC_TIMEOUT)
        if purges is None:
            version = await self._shared_store.version(SYNC_TIMEOUT)
            self._clear()
        else:
            for tag, tag_version in purges.items():
                self._local.tag_versions.purge((tag,), tag_version)
            version = max(purges.values(), default=synced or 0)
        if self._synced_version is synced:  # else the connection was lost meanwhile
            self._synced_version = version
            self._versions.update(max(version, self._versions.version))

    def _clear(self) -> None:
        self.changes += 1
        self._forget_changes()
        self._local.table.clear()
        self._names.clear()

    def _forget_changes(self) -> None:
        self._forgotten_changes = self.changes
        self._changed.clear()

    def _lose_sync(self, synced_until: float) -> None:
        if self.in_sync:
            self.synced_until = synced_until
        self._set_in_sync(False)

    def _set_in_sync(self, in_sync: bool) -> None:
        self.in_sync = in_sync
        self._metrics.in_sync.set(int(in_sync))
