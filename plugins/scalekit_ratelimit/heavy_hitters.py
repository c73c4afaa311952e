"""The most frequent keys of a stream in bounded memory: Space-Saving (Metwally, Agrawal, El Abbadi 2005).

A new key replaces one with the lowest count and inherits that count as its error: a count is never too low, and
too high by at most the error. Keys are kept in buckets by count, so that each addition takes constant time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

CAPACITY = 100
"""Keys that are counted; a key with more than a hundredth of all additions is always among them."""


@dataclass(slots=True)
class HeavyHitter:
    """A key with its *count*, of which up to *error* may be additions of other keys; *details* describe it."""

    count: int
    error: int
    details: Mapping[str, Any] = field(default_factory=dict)


class HeavyHitters:
    """Counts the most frequent of all added keys, at most *capacity*."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.items: dict[str, HeavyHitter] = {}
        self._capacity = capacity
        self._buckets: dict[int, dict[str, None]] = {}
        self._lowest = 0

    def add(self, key: str) -> HeavyHitter:
        """Count *key* once more and return its item."""
        item = self.items.get(key) or self._insert(key)
        bucket = self._buckets[item.count]
        del bucket[key]
        if not bucket:
            del self._buckets[item.count]
            if self._lowest == item.count:
                self._lowest += 1
        item.count += 1
        self._buckets.setdefault(item.count, {})[key] = None
        return item

    @property
    def floor(self) -> int:
        """The highest count that a key which is not in ``items`` may have."""
        return self._lowest if len(self.items) >= self._capacity else 0

    def _insert(self, key: str) -> HeavyHitter:
        """Add *key* with the count of the key that it replaces, 0 while there is room."""
        if len(self.items) < self._capacity:
            self._lowest = 0
            self._buckets[0] = {}
        else:
            replaced = next(iter(self._buckets[self._lowest]))
            del self._buckets[self._lowest][replaced], self.items[replaced]
        self._buckets[self._lowest][key] = None
        item = self.items[key] = HeavyHitter(self._lowest, self._lowest)
        return item


@dataclass(slots=True)
class HitterTotal:
    """Bounds of the count of a key over all processes."""

    at_least: int
    at_most: int
    details: Mapping[str, Any]


def total_hitters(parts: Iterable[tuple[int, Mapping[str, HeavyHitter]]]) -> dict[str, HitterTotal]:
    """Return the keys of all *parts*, the floor and the items of each process, the most frequent first."""
    parts = list(parts)
    totals: dict[str, HitterTotal] = {}
    everywhere = sum(floor for floor, _ in parts)
    for floor, items in parts:
        for key, item in items.items():
            total = totals.setdefault(key, HitterTotal(0, everywhere, item.details))
            total.at_least += item.count - item.error
            total.at_most += item.count - floor
            if item.details.get("at", 0.0) > total.details.get("at", 0.0):
                total.details = item.details
    return dict(sorted(totals.items(), key=lambda each: (-each[1].at_least, -each[1].at_most, each[0])))
