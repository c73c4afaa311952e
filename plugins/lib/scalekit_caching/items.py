"""The items of a cache and their keys.

In memory a key is a tuple of bytes, which cannot collide. In a shared store it is a digest of those bytes, each part
with its length in front.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from hashlib import blake2b

Key = tuple[bytes, ...]
"""The key of an item: parts that are unique together."""

OVERHEAD = 340
"""Approximate memory of an item in bytes beside its content."""
ENDLESS = float("inf")


class Item:
    """A cached item under *key*.

    ``version_at_start`` is the tag version when the computation of the item started, ``checked_version`` that against
    which it was last checked. ``visited`` is the mark of SIEVE. ``confirmed_at`` is the time on the monotonic
    clock at which the item was read while changes were not reported.
    """

    __slots__ = (
        "checked_version",
        "confirmed_at",
        "key",
        "newer",
        "older",
        "size",
        "tags",
        "version_at_start",
        "visited",
    )

    def __init__(self, key: Key, size: int, tags: tuple[bytes, ...] = (), version_at_start: int = 0) -> None:
        self.key = key
        self.size = size + OVERHEAD
        self.tags = tags
        self.version_at_start = version_at_start
        self.checked_version = version_at_start
        self.visited = False
        self.confirmed_at = 0.0
        self.newer: Item | None = None
        self.older: Item | None = None

    def all_tags(self) -> tuple[bytes, ...]:
        """Return every tag by which the item can be purged."""
        return self.tags

    def retain_until(self) -> float:
        """Return the time until which a store should retain the item."""
        return ENDLESS

    def as_fallback(self) -> Item:
        """Return the item as it is served while the shared store is unavailable."""
        return self


class Value(Item):
    """A value of an application: its *payload*, and the time at which it *expires*."""

    __slots__ = ("expires", "payload")

    def __init__(
        self, key: Key, payload: bytes, expires: float, tags: tuple[bytes, ...] = (), version_at_start: int = 0
    ) -> None:
        super().__init__(key, len(key[-1]) + len(payload), tags, version_at_start)
        self.payload = payload
        self.expires = expires

    def retain_until(self) -> float:
        """Return the time at which the value expires."""
        return self.expires


@lru_cache(maxsize=128)
def digest(key: Key) -> bytes:
    """Return 64 hexadecimal digits for *key*; a few are cached, because a miss needs the digest three times."""
    lengths = struct.pack(f">{len(key)}Q", *map(len, key))
    return blake2b(lengths + b"".join(key), digest_size=32).hexdigest().encode()
