"""A table within a budget of bytes, which forgets what is used least.

The algorithm is SIEVE (Zhang and others, NSDI 2024). A hit sets one mark and moves nothing, so it costs next to
nothing; a hand goes from the oldest to the newest, takes marks off, and what has none it evicts. What is asked for only
once goes soon, so a scan does not empty the table.
"""

from __future__ import annotations

from scalekit_caching.items import Item, Key


class Sieve:
    """Items by key, of which all together have at most *budget* bytes."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.items: dict[Key, Item] = {}
        self.size = 0
        self.evicted = 0
        self._newest: Item | None = None
        self._oldest: Item | None = None
        self._hand: Item | None = None

    def put(self, item: Item) -> None:
        """Keep *item* in place of what had its key; what is larger than the budget is not kept."""
        key, size = item.key, item.size
        if key in self.items:
            self.remove(key)
        if size > self.budget:
            return
        while self.size + size > self.budget:
            self._evict()
        self.items[key] = item
        self.size += size
        item.newer = None  # one that was here before may come again
        newest = item.older = self._newest
        if newest is None:
            self._oldest = item
        else:
            newest.newer = item
        self._newest = item

    def remove(self, key: Key) -> bool:
        """Forget what has *key*, and tell whether anything had."""
        item = self.items.pop(key, None)
        if item is None:
            return False
        self._unlink(item)
        return True

    def clear(self) -> None:
        """Forget everything."""
        for key in list(self.items):
            self.remove(key)

    def _evict(self) -> None:
        item = self._hand or self._oldest
        while item is not None and item.used:
            item.used = False
            item = item.newer or self._oldest
        if item is not None:
            del self.items[item.key]
            self._unlink(item)
            self._hand = item.newer
            item.newer = item.older = None
            self.evicted += 1

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
