"""Lookups in the shared store that run without a coroutine: sent at once, evaluated when the reply has arrived."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Callable
from typing import Any

from scalekit_caching.codec import Codec, Corrupt
from scalekit_caching.items import Item, Key, digest
from scalekit_caching.local_invalidation import ClientSideCaching
from scalekit_caching.metrics import CachingMetrics
from scalekit_caching.shared_store import SharedStore
from scalekit_caching.store import RetryGet
from scalekit_caching.tag_versions import SharedTagVersions

MAX_DECODED, MAX_DECODED_BYTES = 64, 16384
"""Encoded items that are not decoded again while they are unchanged, and the largest size of one."""


class SharedGets:
    """Starts lookups of one GET each, which is enough while the local level is in sync.

    A found item is stored in the local level with *store_locally*. A popular item for which the local level has no room
    is decoded only once.
    """

    def __init__(
        self,
        shared_store: SharedStore,
        codec: Codec,
        invalidation: ClientSideCaching,
        versions: SharedTagVersions,
        metrics: CachingMetrics,
        *,
        store_locally: Callable[[Item, bytes], None],
    ) -> None:
        self._shared_store = shared_store
        self._codec = codec
        self._invalidation = invalidation
        self._versions = versions
        self._metrics = metrics
        self._store_locally = store_locally
        self._decoded: dict[bytes, tuple[bytes, Item]] = {}

    def start(self, key: Key) -> SharedGet | None:
        """Send the GET for *key*; None while the local level is out of sync or the store is unavailable."""
        invalidation = self._invalidation
        if not invalidation.in_sync:
            return None
        name = digest(key)
        try:
            reply = self._shared_store.start_get(name)
        except Exception:  # Store.get fails in the same way, and counts it
            return None
        return SharedGet(self, reply, name, key, invalidation.changes)

    def finish(self, get: SharedGet) -> Item | None:
        """Return the item that *get* has found; raises RetryGet when tag versions have to be checked."""
        invalidation = self._invalidation
        try:
            data = self._shared_store.read_reply(get.reply)
        except Exception as error:
            self._metrics.count_failure(type(error).__name__)
            return invalidation.fallback(get.key)
        if not invalidation.in_sync:  # tags may have been purged meanwhile
            raise RetryGet
        if data is None:
            self._metrics.lookup_miss.inc()
            return None
        item = self._decode(data, get)
        self._metrics.lookup_shared.inc()
        if not invalidation.changed_since(get.name, get.changes):
            self._store_locally(item, get.name)
        return item

    def _decode(self, data: bytes, get: SharedGet) -> Item:
        last = self._decoded.get(get.name)
        if last is not None and last[0] == data:
            item = last[1]
        else:
            try:
                item = self._codec.decode(data, get.name, get.key)
            except Corrupt as error:
                raise RetryGet from error
            self._remember(get.name, data, item)
        if self._versions.may_be_outdated(item):
            raise RetryGet
        return item

    def _remember(self, name: bytes, data: bytes, item: Item) -> None:
        decoded = self._decoded
        if len(data) <= MAX_DECODED_BYTES:
            if len(decoded) >= MAX_DECODED and name not in decoded:
                del decoded[next(iter(decoded))]
            decoded[name] = data, item


class SharedGet:
    """A lookup of *key*, whose digest is *name*, sent when the count of changes was *changes*."""

    __slots__ = ("_gets", "changes", "key", "name", "reply")

    def __init__(self, gets: SharedGets, reply: Future[Any], name: bytes, key: Key, changes: int) -> None:
        self._gets = gets
        self.reply = reply
        self.name = name
        self.key = key
        self.changes = changes

    def finish(self) -> Item | None:
        """Return the item or None, once the reply has arrived; raises RetryGet."""
        return self._gets.finish(self)
