"""Counts by name in bounded memory."""

from __future__ import annotations

from collections import OrderedDict


class Counter:
    """Counts by name for at most *limit* names; the least recently counted is evicted."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._seen: OrderedDict[str, int] = OrderedDict()

    def add(self, name: str) -> int:
        """Increment the count of *name* and return it."""
        number = self._seen[name] = self._seen.pop(name, 0) + 1
        if len(self._seen) > self.limit:
            self._seen.popitem(last=False)
        return number

    @property
    def size(self) -> int:
        """Number of names."""
        return len(self._seen)

    def top(self, count: int) -> list[tuple[str, int]]:
        """Return the *count* names seen most often, with their numbers."""
        return sorted(self._seen.items(), key=lambda item: -item[1])[:count]

    def check(self) -> None:
        """Raise RuntimeError when the table is full, since counts are then too low."""
        if len(self._seen) >= self.limit:
            raise RuntimeError(f"the table of {self.limit} names is full")
