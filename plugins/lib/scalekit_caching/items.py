"""What is kept, and what it is found by.

In the process a key is a tuple of the raw bytes, which can collide no more than they can. Where it goes to a shared
store it is a digest of the same bytes, each with its length in front.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from hashlib import blake2b

Key = tuple[bytes, ...]

OVERHEAD = 340
"""Bytes that an item takes beside what it holds, more or less."""
ENDLESS = float("inf")


class Item:
    """Something that is kept under *key*; the rest is for whoever keeps it.

    ``seen`` is when, on the monotonic clock, it came while changes of others were not told.
    """

    __slots__ = ("key", "newer", "older", "seen", "since", "size", "tags", "used", "valid")

    def __init__(self, key: Key, size: int, tags: tuple[bytes, ...] = (), since: int = 0) -> None:
        self.key = key
        self.size = size + OVERHEAD
        self.tags = tags
        self.since = since
        self.valid = since
        self.used = False
        self.seen = 0.0
        self.newer: Item | None = None
        self.older: Item | None = None

    def all_tags(self) -> tuple[bytes, ...]:
        """Return every tag that it can be purged by."""
        return self.tags

    def retain_until(self) -> float:
        """Return until when it may be of use."""
        return ENDLESS

    def as_fallback(self) -> Item:
        """Return it for who cannot ask whether it is still true."""
        return self


class Value(Item):
    """An object of an application: its *frame*, and when it expires."""

    __slots__ = ("expires", "frame")

    def __init__(self, key: Key, frame: bytes, expires: float, tags: tuple[bytes, ...] = (), since: int = 0) -> None:
        super().__init__(key, len(key[-1]) + len(frame), tags, since)
        self.frame = frame
        self.expires = expires

    def retain_until(self) -> float:
        """Return when it expires."""
        return self.expires


@lru_cache(maxsize=128)
def digest(key: Key) -> bytes:
    """Return 64 characters that stand for *key*; those of a few are remembered, as a miss asks thrice."""
    lengths = struct.pack(f">{len(key)}Q", *map(len, key))
    return blake2b(lengths + b"".join(key), digest_size=32).hexdigest().encode()
