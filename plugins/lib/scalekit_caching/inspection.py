"""Reads of a cache store for an operator, which leave the store as it is.

They count no lookup, mark no item as used, and neither copy items to the memory of the process nor delete purged ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from scalekit_caching.items import Item, Key, digest
from scalekit_caching.memory_store import MemoryStore
from scalekit_caching.store import Store
from scalekit_caching.tiered_store import TieredStore


def local_items(store: Store) -> Iterator[Item]:
    """Yield the items in the memory of the process, purged ones too; the caller must not wait meanwhile."""
    yield from _memory_of(store).table.items.values()


def is_purged(store: Store, item: Item) -> bool:
    """Return whether a tag of the local *item* was purged, as far as this process knows."""
    return _memory_of(store).tag_versions.purged_since(item.all_tags(), item.version_at_start)


def _memory_of(store: Store) -> MemoryStore:
    local = store.local if isinstance(store, TieredStore) else store
    if not isinstance(local, MemoryStore):
        raise TypeError(f"a {type(store).__name__} has no items that can be listed; use a MemoryStore or a TieredStore")
    return local


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
