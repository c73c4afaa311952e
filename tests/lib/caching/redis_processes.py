"""Processes with a value cache each, which share a store on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from scalekit.telemetry import Telemetry
from scalekit_caching.codec import ItemCodec
from scalekit_caching.local_invalidation import DISCONNECTED_TTL
from scalekit_caching.memory_store import MemoryStore
from scalekit_caching.metrics import CachingMetrics
from scalekit_caching.redis_store import RedisStore
from scalekit_caching.tiered_store import TieredStore
from scalekit_caching.value_cache import ValueCache
from scalekit_redis import Connections
from tests.cache.harness import NOON

DEADLINE = 10.0


class Process:
    """The value cache of one process, on its own connection."""

    def __init__(self, store: RedisStore, disconnected_ttl: float = DISCONNECTED_TTL) -> None:
        self.store = store
        self.metrics = CachingMetrics(Telemetry(1000), "test")
        self.now = NOON
        self.tiered = TieredStore(
            MemoryStore(2**20), store, ItemCodec(), self.metrics, lambda: self.now, disconnected_ttl=disconnected_ttl
        )
        self.values = ValueCache(self.tiered, self.metrics, lambda: self.now, 30.0)


@asynccontextmanager
async def open_process(
    url: str, timeout: float = DEADLINE, max_tags: int = 100_000, disconnected_ttl: float = DISCONNECTED_TTL
) -> AsyncGenerator[Process, None]:
    async with Connections(Telemetry(100)).open(url, timeout=timeout) as redis:
        made = Process(RedisStore(redis, "test", max_tags), disconnected_ttl)
        async with made.tiered.running():
            yield made


async def until(event: str, condition: Callable[[], Awaitable[bool]]) -> None:
    try:
        async with asyncio.timeout(60):
            while not await condition():
                await asyncio.sleep(0.005)
    except TimeoutError:
        pytest.fail(f"timeout: {event}")


async def wait_in_sync(*processes: Process) -> None:
    for each in processes:

        async def is_in_sync(one: Process = each) -> bool:
            return one.metrics.in_sync.value == 1

        await until("hearing of changes", is_in_sync)


async def wait_local(one: Process, key: str, value: object) -> None:
    """Wait until *one* has *key* in memory."""

    async def responses() -> bool:
        before = one.metrics.lookup_local.value
        return bool(await one.values.get(key) == value) and one.metrics.lookup_local.value > before

    await until(f"{value} in the process", responses)


async def make_three() -> int:
    return 3
