"""Reads of a cache store for an operator, which leave the store as it is.

They count no lookup, mark no item as used, and neither copy items to the memory of the process nor delete purged ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import aclosing
from itertools import islice

from scalekit_caching.items import Item, Key, digest
from scalekit_caching.memory_store import MemoryStore
from scalekit_caching.store import Store
from scalekit_caching.tiered_store import TieredStore


def local_items(store: Store) -> Iterator[Item]:
    """Yield the items in the memory of the process, purged ones too; the caller must not wait meanwhile."""
    yield from _memory_of(store).table.items.values()


def count_tagged(store: Store, tag: bytes, max_items: int) -> tuple[int, bool]:
    """Return how many of the first *max_items* local items have the *tag* and are not purged, and if those are all."""
    examined = list(islice(local_items(store), max_items + 1))
    number = sum(tag in item.tags and not is_purged(store, item) for item in examined[:max_items])
    return number, len(examined) <= max_items


def is_purged(store: Store, item: Item) -> bool:
    """Return whether a tag of the local *item* was purged, as far as this process knows."""
    return _memory_of(store).tag_versions.purged_since(item.all_tags(), item.version_at_start)


def _memory_of(store: Store) -> MemoryStore:
    local = store.local if isinstance(store, TieredStore) else store
    if not isinstance(local, MemoryStore):
        raise TypeError(f"a {type(store).__name__} has no items that can be listed; use a MemoryStore or a TieredStore")
    return local


async def sample_heads(
    store: TieredStore, head_size: int, *, max_items: int, max_steps: int
) -> tuple[list[bytes], bool]:
    """Return the first *head_size* bytes of about *max_items* items in the shared store, and whether those are all.

    The store is scanned in *max_steps* steps at most. Raises the exceptions of the shared store.
    """
    heads: dict[bytes, bytes] = {}
    steps = 0
    async with aclosing(store.shared_store.scan()) as batches:
        async for names in batches:
            found = await store.shared_store.get_heads(names, head_size)
            heads.update({name: head for name, head in zip(names, found, strict=True) if head is not None})
            steps += 1
            if len(heads) >= max_items or steps >= max_steps:
                return list(heads.values()), False
    return list(heads.values()), True


async def read_shared(store: TieredStore, keys: Sequence[Key]) -> list[Item]:
    """Return the items under *keys* in the shared store, without purged ones, in two round trips at most.

    Raises Corrupt for an item of another format, and the exceptions of the shared store.
    """
    names = [digest(key) for key in keys]
    replies, _ = await store.shared_store.get_many(names)
    found = zip(keys, names, replies, strict=True)
    items = [store.codec.decode(data, name, key) for key, name, data in found if data is not None]
    tags = list(dict.fromkeys(tag for item in items for tag in item.all_tags()))
    versions = dict(zip(tags, await store.shared_store.tag_versions(tags), strict=True)) if tags else {}
    return [item for item in items if all(versions[tag] <= item.version_at_start for tag in item.all_tags())]
