"""While the shared store is unavailable, local entries are used for disconnected_ttl only."""

from __future__ import annotations

import asyncio

import pytest

from scalekit.telemetry import Telemetry
from scalekit_caching.memory_store import MemoryStore
from scalekit_caching.redis_store import RedisStore
from scalekit_caching.tiered_store import TieredStore
from scalekit_redis import Connections
from tests.cache.harness import CacheHarness, Origin, Reply
from tests.lib.caching.redis_processes import Process, make_three, open_process, until, wait_in_sync, wait_local
from tests.lib.caching.table_store import CODEC
from tests.lib.redis.proxy import Proxy, open_proxy
from tests.servers import Redis

pytestmark = [pytest.mark.anyio, pytest.mark.needs("redis")]
DEADLINE = 0.05


def slow(between: Proxy) -> None:
    between.delay = 4 * DEADLINE


def cut_off(between: Proxy) -> None:
    between.refuses = True
    between.cut()


def silent(between: Proxy) -> None:
    between.open.clear()


HARMS = {"slow": slow, "cut off": cut_off, "silent": silent}


async def is_purged(one: Process, key: str = "a") -> None:
    async def is_missing() -> bool:
        return await one.values.get(key) is None

    await until(f"the purge of {key}", is_missing)


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS.keys())
@pytest.mark.parametrize("first", ["harm", "purge"])
async def test_a_disconnected_process_does_not_serve_purged_entries_after_disconnected_ttl(
    harm: object, first: str
) -> None:
    assert callable(harm)
    with Redis() as server:
        async with (
            open_proxy(server.port) as between,
            open_process(between.url, timeout=DEADLINE) as one,
            open_process(server.url) as two,
        ):
            await wait_in_sync(one, two)
            await one.values.set("a", 1, 3600, tags=["t"])
            await wait_local(one, "a", 1)
            if first == "harm":
                harm(between)
            await two.values.purge(tag="t")
            harm(between)
            await is_purged(one)
            await one.values.set("a", 2, 3600, tags=["t"])
            await two.values.purge(tag="t")
            await is_purged(one)
            between.refuses, between.delay = False, 0.0
            between.open.set()
            await wait_in_sync(one)
            assert await one.values.get("a") is None


async def test_a_process_resumes_sync_with_a_store_slower_than_store_timeout() -> None:
    with Redis() as server:
        async with (
            open_proxy(server.port) as between,
            open_process(between.url, timeout=DEADLINE) as one,
            open_process(server.url) as two,
        ):
            await wait_in_sync(one, two)
            between.delay = 2 * DEADLINE
            await two.values.purge(tag="t")

            async def has_caught_up() -> bool:
                return one.metrics.in_sync.value == 1 and one.tiered.version == two.tiered.version

            await until("the purge", has_caught_up)


async def test_local_entries_are_served_for_disconnected_ttl() -> None:
    for ttl, expected in ((3600.0, 1), (0.0, None)):
        with Redis() as server:
            async with open_process(server.url, timeout=0.25, disconnected_ttl=ttl) as one:
                await wait_in_sync(one)
                await one.values.set("a", 1, 3600)
                await wait_local(one, "a", 1)
                server.kill()

                async def is_lost(one: Process = one) -> bool:
                    return one.metrics.in_sync.value == 0

                await until("the loss of the connection", is_lost)
                assert await one.values.get("a") == expected
                assert await one.values.get_or_set("b", 3600, make_three) == 3
                assert await one.values.get("b") == (expected and 3)


async def test_cache_status_has_the_detail_disconnected() -> None:
    with Redis() as server:
        async with Connections(Telemetry(100)).open(server.url, timeout=0.25) as redis:
            origin = Origin(Reply([("Cache-Control", "max-age=60")]))
            harness = CacheHarness(origin, store=MemoryStore(1))
            store, metrics = RedisStore(redis, "test"), harness.metrics
            tiered = TieredStore(
                MemoryStore(2**20), store, CODEC, metrics, lambda: harness.now, disconnected_ttl=3600.0
            )
            harness.cache.store = harness.store = tiered
            async with tiered.running():
                async with asyncio.timeout(60):
                    while not metrics.in_sync.value:
                        await asyncio.sleep(0.005)
                await harness.fetch()
                assert (await harness.fetch()).header("cache-status") == "scalekit; hit; ttl=60"
                server.kill()
                async with asyncio.timeout(60):
                    while metrics.in_sync.value:
                        await asyncio.sleep(0.005)
                for _ in range(2):
                    response = await harness.fetch()
                    assert response.header("cache-status") == "scalekit; hit; ttl=60; detail=disconnected"
                assert (await harness.fetch("/b")).header("cache-status") == "scalekit; fwd=uri-miss; fwd-status=200"
            assert origin.calls == 2
