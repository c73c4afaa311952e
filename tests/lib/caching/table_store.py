"""Processes that share a table of items in memory, in place of a shared store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager

from scalekit_cache.codec import HttpCodec
from scalekit_cache.policies import CachePolicy
from scalekit_caching.memory_store import MemoryStore
from scalekit_caching.shared_store import ChangeListener, LeaseName, SharedStore
from scalekit_caching.tiered_store import TieredStore
from tests.cache.harness import CacheHarness, Origin

CODEC = HttpCodec()


class Table:
    """Items in a dictionary, with the tag versions and leases of a shared store."""

    def __init__(self) -> None:
        self.items: dict[bytes, bytes] = {}
        self.last = 0
        self.purged: dict[bytes, int] = {}
        self.leases: dict[LeaseName, bytes] = {}
        self.listeners: list[ChangeListener] = []
        self.broken: Exception | None = None

    def check(self) -> None:
        if self.broken is not None:
            raise self.broken

    async def get_one(self, key: bytes) -> bytes | None:
        self.check()
        return self.items.get(key)

    def start_get(self, key: bytes) -> asyncio.Future[bytes | None]:
        return asyncio.ensure_future(self.get_one(key))

    def read_reply(self, reply: asyncio.Future[bytes | None]) -> bytes | None:
        return reply.result()

    async def get_many(self, keys: Sequence[bytes]) -> tuple[list[bytes | None], int]:
        self.check()
        return [self.items.get(key) for key in keys], self.last

    async def put_many(self, items: Mapping[bytes, bytes], ttls: Sequence[float]) -> None:
        self.check()
        assert all(each > 0 for each in ttls)
        self.items |= items
        self.notify(list(items))

    def start_put(self, key: bytes, data: bytes, ttl: float) -> asyncio.Future[None]:
        return asyncio.ensure_future(self.put_many({key: data}, [ttl]))

    def start_put_and_release(self, lease: LeaseName, token: bytes, data: bytes, ttl: float) -> asyncio.Future[None]:
        async def both() -> None:
            try:
                await self.put_many({lease.name: data}, [ttl])
            finally:
                self.release_lease(lease, token)

        return asyncio.ensure_future(both())

    async def delete(self, keys: Sequence[bytes]) -> None:
        self.check()
        for key in keys:
            self.items.pop(key, None)
        self.notify(keys)

    def notify(self, keys: Sequence[bytes]) -> None:
        for each in self.listeners:
            each.on_change(keys)

    async def version(self, timeout: float | None = None) -> int:
        self.check()
        return self.last

    async def tag_versions(self, tags: Sequence[bytes]) -> Sequence[int]:
        self.check()
        return [self.purged.get(tag, 0) for tag in tags]

    async def purges_after(self, version: int, timeout: float = 1.0) -> Mapping[bytes, int] | None:
        self.check()
        return {tag: last for tag, last in self.purged.items() if last > version}

    async def purge(self, tags: Sequence[bytes]) -> int:
        self.check()
        self.last += 1
        self.purged |= dict.fromkeys(tags, self.last)
        for each in self.listeners:
            each.on_purge()
        return self.last

    async def scan(self) -> AsyncGenerator[list[bytes], None]:
        self.check()
        for key in list(self.items):
            yield [key, key]

    async def get_heads(self, keys: Sequence[bytes], size: int) -> list[bytes | None]:
        self.check()
        return [data[:size] if (data := self.items.get(key)) else None for key in keys]

    @asynccontextmanager
    async def subscribe(self, listener: ChangeListener) -> AsyncGenerator[None, None]:
        self.listeners.append(listener)
        listener.on_start()
        yield
        self.listeners.remove(listener)

    async def acquire_lease(self, lease: LeaseName, token: bytes, ttl: float) -> tuple[bool, bytes | None]:
        self.check()
        return self.leases.setdefault(lease, token) == token, self.items.get(lease.name)

    def release_lease(self, lease: LeaseName, token: bytes) -> None:
        if self.leases.get(lease) == token:
            del self.leases[lease]


def new_process(table: SharedStore, origin: Origin, policy: CachePolicy = CachePolicy()) -> CacheHarness:  # noqa: B008 - it is frozen
    harness = CacheHarness(origin, [("/**", policy)], store=MemoryStore(1))
    tiered = TieredStore(MemoryStore(2**20), table, CODEC, harness.metrics, lambda: harness.now)
    harness.cache.store = harness.values._store = harness.store = tiered
    return harness


async def wait_written(*processes: CacheHarness) -> None:
    for harness in processes:
        assert isinstance(harness.store, TieredStore)
        await harness.store.close()
