"""A cache store of two levels: the memory of the process (L1) before a store that processes share (L2).

The local level serves items while it is in sync, that is, while the shared store reports every change. Otherwise local
items are served only when the shared store fails, and only for a short time after they were last in sync, because other
processes may have purged them. An item that the shared store does not return in time is a miss.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import count

from scalekit_caching.codec import Codec, Corrupt
from scalekit_caching.items import Item, Key, digest
from scalekit_caching.lease import Lease, NoLease, StoreLease
from scalekit_caching.local_invalidation import DISCONNECTED_TTL, ClientSideCaching
from scalekit_caching.memory_store import MemoryStore
from scalekit_caching.metrics import CachingMetrics
from scalekit_caching.pending_get import SharedGets
from scalekit_caching.shared_store import LeaseName, SharedStore
from scalekit_caching.store import PendingGet, RetryGet
from scalekit_caching.tag_versions import SharedTagVersions

logger = logging.getLogger("scalekit.caching")

MAX_TTL = 30 * 86400.0
"""Longest TTL in the shared store, in seconds; tag versions are retained longer."""
MAX_SCRIPT_ITEM = 65536  # bytes of an item that is written by a script, which copies it twice
MAX_WRITES = 256
"""Items on their way to the shared store at one time; those beyond are stored only in the process."""


class TieredStore:
    """Items in *local* memory and in *shared_store*."""

    shared = True

    def __init__(
        self,
        local: MemoryStore,
        shared_store: SharedStore,
        codec: Codec,
        metrics: CachingMetrics,
        clock: Callable[[], float],
        *,
        disconnected_ttl: float = DISCONNECTED_TTL,
    ) -> None:
        self.local, self.statistics = local, local.statistics
        self.shared_store = shared_store
        self.codec = codec
        self._metrics = metrics
        self._clock = clock
        self._versions = SharedTagVersions(shared_store)
        self._invalidation = ClientSideCaching(local, shared_store, self._versions, metrics, disconnected_ttl)
        self._gets = SharedGets(
            shared_store, codec, self._invalidation, self._versions, metrics, store_locally=self._store_locally
        )
        self._writes: dict[bytes, asyncio.Future[None]] = {}
        self._process = os.urandom(8)
        self._lease_numbers = count()

    @property
    def version(self) -> int:
        """The version of the last purge that this process knows; one that is too low causes misses, no stale items."""
        return self._versions.version

    async def current_version(self) -> int:
        """Return the version of the last purge in any process."""
        if not self._invalidation.in_sync:
            try:
                self._versions.update(await self.shared_store.version())
            except Exception as error:
                self._metrics.count_failure(type(error).__name__)
        return self._versions.version

    def peek(self, key: Key) -> Item | None:
        """Return the local item under *key*, while the local level is in sync."""
        if not self._invalidation.in_sync:
            return None
        found = self.local.peek(key)
        if found is not None:
            self._metrics.lookup_local.inc()
        return found

    def peek_unsynced(self, key: Key) -> Item | None:
        """Return the local item under *key*, in sync or not."""
        return self.local.peek(key)

    async def get(self, key: Key) -> Item | None:
        """Return the item under *key* from either level; while in sync that takes one GET."""
        found = self.peek(key)
        if found is not None:
            return found
        name = digest(key)
        if self._writes:
            await self._wait_written((name,))
        get = self._gets.start(key)
        if get is not None:
            with suppress(Exception):  # finish() raises it again
                await get.reply
            with suppress(RetryGet):
                return get.finish()
        return (await self._get_shared({key: name}))[key]

    def start_get(self, key: Key) -> PendingGet | None:
        """Send the GET for *key* to the shared store at once; None where one GET is not enough."""
        return None if self._writes and digest(key) in self._writes else self._gets.start(key)

    async def get_many(self, keys: Sequence[Key]) -> list[Item | None]:
        """Return the items under *keys* from either level, in one round trip; corrupt ones are deleted."""
        found = {key: self.peek(key) for key in keys}
        names = {key: digest(key) for key, item in found.items() if item is None}
        if names:
            if self._writes:
                await self._wait_written(names.values())
            found |= await self._get_shared(names)
        return [found[key] for key in keys]

    async def _get_shared(self, names: dict[Key, bytes]) -> dict[Key, Item | None]:
        changes = self._invalidation.changes
        try:
            replies, version = await self.shared_store.get_many(list(names.values()))
            self._versions.update(version)
            items = await self._decode_all(names, replies)
            outdated = await self._versions.are_outdated(items, version)
        except Exception as error:
            self._metrics.count_failure(type(error).__name__)
            return {key: self._invalidation.fallback(key) for key in names}
        valid = [item for item, is_outdated in zip(items, outdated, strict=True) if not is_outdated]
        self._metrics.lookup_shared.inc(len(valid))
        self._metrics.lookup_miss.inc(len(names) - len(valid))
        for item in valid:
            if not self._invalidation.changed_since(names[item.key], changes):
                self._store_locally(item, names[item.key])
        return dict.fromkeys(names) | {item.key: item for item in valid}

    async def _accept(self, data: bytes, name: bytes, key: Key, changes: int) -> Item | None:
        """Return the item in *data*, requested at the count *changes*, unless it was purged or is corrupt."""
        try:
            item = self.codec.decode(data, name, key)
        except Corrupt as error:
            await self._drop_corrupt(name, error)
            item = None
        if item is None or (self._versions.may_be_outdated(item) and await self._is_outdated(item)):
            self._metrics.lookup_miss.inc()
            return None
        self._metrics.lookup_shared.inc()
        if not self._invalidation.changed_since(name, changes):
            self._store_locally(item, name)
        return item

    async def _is_outdated(self, item: Item) -> bool:
        try:
            return (await self._versions.are_outdated((item,), self._versions.version))[0]
        except Exception as error:
            self._metrics.count_failure(type(error).__name__)
            return True

    async def _decode_all(self, names: dict[Key, bytes], replies: Sequence[bytes | None]) -> list[Item]:
        items = []
        for (key, name), data in zip(names.items(), replies, strict=True):
            try:
                if data is not None:
                    items.append(self.codec.decode(data, name, key))
            except Corrupt as error:
                await self._drop_corrupt(name, error)
        return items

    async def _drop_corrupt(self, name: bytes, error: Corrupt) -> None:
        self._metrics.corrupt.inc()
        logger.warning("a corrupt item in the shared store is deleted: %s", error)
        await self._delete_shared((name,))

    def put(self, item: Item, lease: Lease | None = None) -> asyncio.Future[None] | None:
        """Store *item* locally at once and send it to the shared store; a *lease* of its key may be released too."""
        name = digest(item.key)
        self._store_locally(item, name)
        ttl = min(item.retain_until() - self._clock(), MAX_TTL)
        if ttl <= 0 or len(self._writes) >= MAX_WRITES:
            return None
        try:
            data = self.codec.encode(item, name)
            if isinstance(lease, StoreLease) and lease.lease.name == name and len(data) <= MAX_SCRIPT_ITEM:
                write = lease.put_and_release(data, ttl)
            else:
                write = self.shared_store.start_put(name, data, ttl)
        except Exception as error:
            self._metrics.count_failure(type(error).__name__)
            return None
        self._track_write(name, write)
        return write

    async def put_many(self, items: Sequence[Item]) -> None:
        """Store *items* locally and in the shared store, in one round trip."""
        named = {digest(item.key): item for item in items}
        for name, item in named.items():
            self._store_locally(item, name)
        await self._put_shared(named)

    async def delete(self, keys: Iterable[Key]) -> None:
        """Delete *keys* in both levels."""
        listed = list(keys)
        await self.local.delete(listed)
        names = [digest(key) for key in listed]
        await self._wait_written(names)
        await self._delete_shared(names)

    async def purge(self, tags: Iterable[bytes]) -> None:
        """Purge *tags* in all processes. Raises the error of the shared store: a purge must not fail silently."""
        listed = list(tags)
        version = await self.shared_store.purge(listed)
        self.local.tag_versions.purge(listed, version)
        self._versions.update(max(version, self._versions.version))

    def purged_since(self, tags: Sequence[bytes], version: int) -> bool:
        """Return whether one of *tags* was purged after *version*, or may have been in another process."""
        missed = self._versions.version != version and not self._invalidation.in_sync
        return missed or self.local.tag_versions.purged_since(tags, version)

    async def acquire_lease(self, key: Key, variant: Key, ttl: float) -> tuple[Lease | None, Item | None]:
        """Return the lease to make the *variant* of *key* or None, and the item under *key* as read after that.

        While the shared store is unavailable, every process has the lease.
        """
        name, changes = digest(key), self._invalidation.changes
        variant_name = b"" if variant == key else digest(variant)
        lease = StoreLease(self.shared_store, LeaseName(name, variant_name), self._lease_token())
        try:
            acquired, data = await self.shared_store.acquire_lease(lease.lease, lease.token, ttl)
            if data is None:
                return lease if acquired else None, None
            await self.current_version()
            return lease if acquired else None, await self._accept(data, name, key, changes)
        except Exception as error:
            self._metrics.count_failure(type(error).__name__)
            lease.release()
            return NoLease(), None
        except BaseException:
            lease.release()
            raise

    def _lease_token(self) -> bytes:
        return b"%b%d" % (self._process, next(self._lease_numbers))

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Receive changes while inside, and wait at the end for pending writes."""
        try:
            async with self._invalidation.running():
                yield
        finally:
            await self.close()

    async def close(self) -> None:
        """Wait for pending writes."""
        await asyncio.gather(*self._writes.values(), return_exceptions=True)

    def _store_locally(self, item: Item, name: bytes) -> None:
        self.local.put(item)
        self._invalidation.track(name, item)

    def _track_write(self, name: bytes, write: asyncio.Future[None]) -> None:
        """Track *write*, the latest to *name*, until it is done."""
        self._writes[name] = write
        write.add_done_callback(partial(self._write_done, name))

    def _write_done(self, name: bytes, write: asyncio.Future[None]) -> None:
        if self._writes.get(name) is write:
            del self._writes[name]
        error = None if write.cancelled() else write.exception()
        if error is not None:
            self._metrics.count_failure(type(error).__name__)

    async def _wait_written(self, names: Iterable[bytes]) -> None:
        """Wait until pending writes to *names* are done, so that a read or delete does not overtake them."""
        writes = [self._writes[name] for name in names if name in self._writes]
        if writes:
            await asyncio.wait(writes)

    async def _put_shared(self, items: dict[bytes, Item]) -> None:
        ttls = {name: min(item.retain_until() - self._clock(), MAX_TTL) for name, item in items.items()}
        current = {name: item for name, item in items.items() if ttls[name] > 0}
        if not current:
            return
        try:
            encoded = {name: self.codec.encode(item, name) for name, item in current.items()}
            await self.shared_store.put_many(encoded, [ttls[name] for name in encoded])
        except Exception as error:
            self._metrics.count_failure(type(error).__name__)

    async def _delete_shared(self, names: Sequence[bytes]) -> None:
        try:
            await self.shared_store.delete(names)
        except Exception as error:
            self._metrics.count_failure(type(error).__name__)
