"""Eviction by SIEVE: a table within a budget of bytes that evicts the least useful items.

The algorithm is that of Zhang and others (NSDI 2024). A hit only sets the visited mark of an item; the hand moves from
the oldest item to the newest, clears marks, and evicts items without one. Items that are used only once are evicted
soon, so that a scan does not replace the whole table.
"""

from __future__ import annotations

from scalekit_caching.items import Item, Key


class Sieve:
    """Items by key, at most *budget* bytes in total."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.items: dict[Key, Item] = {}
        self.size = 0
        self.evictions = 0
        self._newest: Item | None = None
        self._oldest: Item | None = None
        self._hand: Item | None = None

    def put(self, item: Item) -> None:
        """Store *item*, replacing one with its key; an item larger than the budget is not stored."""
        key, size = item.key, item.size
        if key in self.items:
            self.remove(key)
        if size > self.budget:
            return
        while self.size + size > self.budget:
            self._evict()
        self.items[key] = item
        self.size += size
        item.newer = None  # an evicted item may be stored again
        newest = item.older = self._newest
        if newest is None:
            self._oldest = item
        else:
            newest.newer = item
        self._newest = item

    def remove(self, key: Key) -> bool:
        """Remove *key*; return whether it existed."""
        item = self.items.pop(key, None)
        if item is None:
            return False
        self._unlink(item)
        return True

    def clear(self) -> None:
        """Remove all items."""
        for key in list(self.items):
            self.remove(key)

    def _evict(self) -> None:
        item = self._hand or self._oldest
        while item is not None and item.visited:
            item.visited = False
            item = item.newer or self._oldest
        if item is not None:
            del self.items[item.key]
            self._unlink(item)
            self._hand = item.newer
            item.newer = item.older = None
            self.evictions += 1

    def _unlink(self, item: Item) -> None:
        self.size -= item.size
        if self._hand is item:
            self._hand = item.newer
        if item.newer is None:
            self._newest = item.older
        else:
            item.newer.older = item.older
        if item.older is None:
            self._oldest = item.newer
        else:
            item.older.newer = item.newer
