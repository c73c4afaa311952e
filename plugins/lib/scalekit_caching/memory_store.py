"""A cache store in the memory of one process (L1)."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Iterable, Sequence

from scalekit_caching.items import Item, Key
from scalekit_caching.lease import Lease, NoLease
from scalekit_caching.sieve import Sieve
from scalekit_caching.store import PendingGet
from scalekit_caching.tag_versions import TagVersions


class MemoryStore:
    """Items in the memory of one process, at most *budget* bytes; the least useful are evicted."""

    shared = False

    def __init__(self, budget: int) -> None:
        self.table = Sieve(budget)
        self.tag_versions = TagVersions()

    @property
    def version(self) -> int:
        """The version of the last purge."""
        return self.tag_versions.version

    def statistics(self) -> tuple[int, int, int]:
        """Return the number of items, their bytes, and the number of evictions."""
        return len(self.table.items), self.table.size, self.table.evictions

    def peek(self, key: Key) -> Item | None:
        """Return the item under *key*, unless it was purged."""
        item = self.table.items.get(key)
        if item is None:
            return None
        if item.checked_version != self.tag_versions.version and self.tag_versions.is_outdated(item):
            self.table.remove(key)
            return None
        item.visited = True
        return item

    peek_unsynced = peek

    async def get(self, key: Key) -> Item | None:
        """Return the item under *key*, unless it was purged."""
        return self.peek(key)

    def start_get(self, key: Key) -> PendingGet | None:
        """Return None: there is no second level."""
        return None

    async def get_many(self, keys: Sequence[Key]) -> list[Item | None]:
        """Return the items under *keys*."""
        return [self.peek(key) for key in keys]

    async def current_version(self) -> int:
        """Return the version of the last purge."""
        return self.tag_versions.version

    def put(self, item: Item, lease: Lease | None = None) -> Future[None] | None:
        """Store *item*; one that was purged during its computation is never returned."""
        self.table.put(item)
        return None

    async def put_many(self, items: Sequence[Item]) -> None:
        """Store *items*."""
        for item in items:
            self.table.put(item)

    async def delete(self, keys: Iterable[Key]) -> None:
        """Delete *keys*."""
        for key in keys:
            self.table.remove(key)

    async def purge(self, tags: Iterable[bytes]) -> None:
        """Purge all items with one of *tags*."""
        self.tag_versions.purge(tags)

    def purged_since(self, tags: Sequence[bytes], version: int) -> bool:
        """Return whether one of *tags* was purged after *version*."""
        return self.tag_versions.purged_since(tags, version)

    async def acquire_lease(self, key: Key, variant: Key, ttl: float) -> tuple[Lease, Item | None]:
        """Return a lease that does nothing: within a process the single flight is enough."""
        return NoLease(), self.peek(key)
