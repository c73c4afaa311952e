"""Count by name, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict


class Counter:
    """How often each name was seen; of more than *limit* names the one seen longest ago is forgotten."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._seen: OrderedDict[str, int] = OrderedDict()

    def add(self, name: str) -> int:
        """Count *name* once more and return its number."""
        number = self._seen[name] = self._seen.pop(name, 0) + 1
        if len(self._seen) > self.limit:
            self._seen.popitem(last=False)
        return number

    @property
    def size(self) -> int:
        """How many names are remembered."""
        return len(self._seen)

    def top(self, count: int) -> list[tuple[str, int]]:
        """Return the *count* names seen most often, with their numbers."""
        return sorted(self._seen.items(), key=lambda item: -item[1])[:count]

    def check(self) -> None:
        """Raise RuntimeError when the table is full, since numbers are then too low."""
        if len(self._seen) >= self.limit:
            raise RuntimeError(f"the table of {self.limit} names is full")
