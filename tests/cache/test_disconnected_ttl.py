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
from tests.lib.caching.test_local_invalidation import held, live, three, until
from tests.lib.caching.test_redis_store import Process, process
from tests.lib.caching.test_tiered_store import CODEC
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
    async def gone() -> bool:
        return await one.objects.get(key) is None

    await until(f"the purge of {key}", gone)


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS.keys())
@pytest.mark.parametrize("first", ["harm", "purge"])
async def test_a_purge_elsewhere_is_not_ignored_by_who_cannot_ask(harm: object, first: str) -> None:
    assert callable(harm)
    with Redis() as server:
        async with (
            open_proxy(server.port) as between,
            process(between.url, deadline=DEADLINE) as one,
            process(server.url) as two,
        ):
            await live(one, two)
            await one.objects.set("a", 1, 3600, tags=["t"])
            await held(one, "a", 1)
            if first == "harm":
                harm(between)
            await two.objects.purge(tag="t")
            harm(between)
            await is_purged(one)
            await one.objects.set("a", 2, 3600, tags=["t"])
            await two.objects.purge(tag="t")
            await is_purged(one)
            between.refuses, between.delay = False, 0.0
            between.open.set()
            await live(one)
            assert await one.objects.get("a") is None


async def test_a_store_that_is_slower_than_requests_may_wait_is_caught_up_with() -> None:
    with Redis() as server:
        async with (
            open_proxy(server.port) as between,
            process(between.url, deadline=DEADLINE) as one,
            process(server.url) as two,
        ):
            await live(one, two)
            between.delay = 2 * DEADLINE
            await two.objects.purge(tag="t")

            async def has_caught_up() -> bool:
                return one.metrics.in_sync.value == 1 and one.levels.version == two.levels.version

            await until("the purge", has_caught_up)


async def test_what_stands_in_is_bounded_by_the_file() -> None:
    for ttl, expected in ((3600.0, 1), (0.0, None)):
        with Redis() as server:
            async with process(server.url, deadline=0.25, disconnected_ttl=ttl) as one:
                await live(one)
                await one.objects.set("a", 1, 3600)
                await held(one, "a", 1)
                server.kill()

                async def is_lost(one: Process = one) -> bool:
                    return one.metrics.in_sync.value == 0

                await until("the loss of the connection", is_lost)
                assert await one.objects.get("a") == expected
                assert await one.objects.get_or_set("b", 3600, three) == 3
                assert await one.objects.get("b") == (expected and 3)


async def test_cache_status_says_that_nobody_could_be_asked() -> None:
    with Redis() as server:
        async with Connections(Telemetry(100)).open(server.url, timeout=0.25) as redis:
            origin = Origin(Reply([("Cache-Control", "max-age=60")]))
            harness = CacheHarness(origin, store=MemoryStore(1))
            frames, metrics = RedisStore(redis, "test"), harness.metrics
            levels = TieredStore(
                MemoryStore(2**20), frames, CODEC, metrics, lambda: harness.now, disconnected_ttl=3600.0
            )
            harness.cache.store = harness.store = levels
            async with levels.running():
                async with asyncio.timeout(60):
                    while not metrics.in_sync.value:
                        await asyncio.sleep(0.005)
                await harness.ask()
                assert (await harness.ask()).header("cache-status") == "scalekit; hit; ttl=60"
                server.kill()
                async with asyncio.timeout(60):
                    while metrics.in_sync.value:
                        await asyncio.sleep(0.005)
                for _ in range(2):
                    answer = await harness.ask()
                    assert answer.header("cache-status") == "scalekit; hit; ttl=60; detail=disconnected"
                assert (await harness.ask("/b")).header("cache-status") == "scalekit; fwd=uri-miss; fwd-status=200"
            assert origin.calls == 2
