"""Count the items that a purge affects, for the output of a command: the purge itself does not need to know."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from scalekit_caching.codec import ItemCodec
from scalekit_caching.shared_store import SharedStore
from scalekit_redis import RedisUnavailable, ReplyError

MAX_ITEMS = 100_000
"""Items that are examined."""
HEAD_SIZE = 8192
"""Bytes of an item that are read, which include its tags."""


@dataclass(frozen=True)
class PurgeCount:
    """The number of items with one of the tags; not *complete* when there are too many items to examine."""

    number: int
    complete: bool

    def __str__(self) -> str:
        if self.complete and not self.number:
            return "purged nothing: no stored item has such a tag or path"
        return f"purged {'' if self.complete else 'at least '}{self.number} stored items"


async def purge_and_count(shared_store: SharedStore, codec: ItemCodec, tags: Sequence[bytes]) -> str:
    """Purge *tags*; return a message with the number of purged items, as far as it can be determined."""
    message = "purged; the number of items could not be determined"
    with suppress(RedisUnavailable, ReplyError):
        message = str(await count_items(shared_store, codec, tags))
    await shared_store.purge(tags)
    return message


async def count_items(
    shared_store: SharedStore, codec: ItemCodec, tags: Sequence[bytes], max_items: int = MAX_ITEMS
) -> PurgeCount:
    """Return how many of about *max_items* items in *shared_store* have one of *tags* and are not purged yet."""
    wanted = frozenset(tags)
    seen: set[bytes] = set()
    number = 0
    async for names in shared_store.scan():
        new = [name for name in dict.fromkeys(names) if name not in seen]
        seen.update(new)
        heads = await shared_store.get_heads(new, HEAD_SIZE)
        tagged = [found for head in heads if head is not None and (found := codec.tags_of(head)) is not None]
        matching = [(version, own) for version, own in tagged if not wanted.isdisjoint(own)]
        number += await _count_valid(shared_store, matching)
        if len(seen) >= max_items:
            return PurgeCount(number, False)
    return PurgeCount(number, True)


async def _count_valid(shared_store: SharedStore, found: Sequence[tuple[int, tuple[bytes, ...]]]) -> int:
    """Return how many of the items *found* were not purged after their computation started."""
    tags = sorted({tag for _, own in found for tag in own})
    last = dict(zip(tags, await shared_store.tag_versions(tags), strict=True)) if tags else {}
    return sum(all(last[tag] <= version for tag in own) for version, own in found)
