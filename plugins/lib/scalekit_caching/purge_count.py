"""How much of what is stored a purge ends, which the purge itself need not know."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from scalekit_caching.codec import ItemCodec
from scalekit_caching.shared_store import SharedStore
from scalekit_redis import RedisUnavailable, ReplyError

MOST = 100_000
"""Items that are looked at."""
HEAD = 8192
"""Bytes of an item that are looked at, where its tags are."""


@dataclass(frozen=True)
class PurgeCount:
    """So many items had one of the tags; not *all* were looked at where there are too many."""

    number: int
    all: bool

    def __str__(self) -> str:
        if self.all and not self.number:
            return "purged nothing: nothing that is stored has such a tag or path"
        return f"purged {'' if self.all else 'at least '}{self.number} of what was stored"


async def purge_and_count(frames: SharedStore, codec: ItemCodec, tags: Sequence[bytes]) -> str:
    """Purge *tags*; return in words how much had them, as far as that can be found out."""
    said = "purged; how much that was could not be counted"
    with suppress(RedisUnavailable, ReplyError):
        said = str(await count(frames, codec, tags))
    await frames.advance(tags)
    return said


async def count(frames: SharedStore, codec: ItemCodec, tags: Sequence[bytes]) -> PurgeCount:
    """Return how many items in *frames* have one of *tags*, and were not purged before."""
    wanted = frozenset(tags)
    seen: set[bytes] = set()
    number = 0
    async for names in frames.scan():
        new = [name for name in dict.fromkeys(names) if name not in seen]
        seen.update(new)
        heads = await frames.heads(new, HEAD)
        tagged = [found for head in heads if head is not None and (found := codec.tags_of(head)) is not None]
        number += await _living(frames, [(since, own) for since, own in tagged if not wanted.isdisjoint(own)])
        if len(seen) >= MOST:
            return PurgeCount(number, False)
    return PurgeCount(number, True)


async def _living(frames: SharedStore, found: Sequence[tuple[int, tuple[bytes, ...]]]) -> int:
    """Return how many of the items *found* were not purged after they were made."""
    tags = sorted({tag for _, own in found for tag in own})
    last = dict(zip(tags, await frames.numbers(tags), strict=True)) if tags else {}
    return sum(all(last[tag] <= since for tag in own) for since, own in found)
