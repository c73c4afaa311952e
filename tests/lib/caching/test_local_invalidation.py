"""The local level before a real shared store, kept in sync by client-side caching."""

from __future__ import annotations

import asyncio

import pytest

from scalekit_redis import RedisUnavailable
from tests.cache.conftest import Shared
from tests.lib.caching.redis_processes import make_three, open_process, until, wait_in_sync, wait_local
from tests.servers import Redis

pytestmark = pytest.mark.anyio


async def test_writes_deletes_and_purges_of_another_process_invalidate_local_items(shared: Shared) -> None:
    async with open_process(shared.url) as one, open_process(shared.url) as two:
        await wait_in_sync(one, two)
        for number, change in enumerate(("set", "delete", "purge")):
            await one.values.set("a", number, 60, tags=["t"])
            await wait_local(two, "a", number)
            if change == "set":
                await one.values.set("a", "new", 60)
            elif change == "delete":
                await one.values.delete("a")
            else:
                await one.values.purge(tag="t")
            expected = "new" if change == "set" else None

            async def is_invalidated(wanted: str | None = expected) -> bool:
                return bool(await two.values.get("a") == wanted)

            await until(f"the {change}", is_invalidated)
            await wait_in_sync(two)
            assert await two.values.get("a") == expected


async def test_a_local_hit_sends_no_command(shared: Shared) -> None:
    async with open_process(shared.url) as one:
        await wait_in_sync(one)
        await one.values.set("a", 1, 60, tags=["t"])
        await wait_local(one, "a", 1)
        before = one.metrics.lookup_shared.value + one.metrics.lookup_miss.value
        for _ in range(10):
            assert await one.values.get("a") == 1
        assert one.metrics.lookup_shared.value + one.metrics.lookup_miss.value == before


async def test_each_lookup_is_counted_once_by_level(shared: Shared) -> None:
    async with open_process(shared.url) as one, open_process(shared.url) as two:
        await wait_in_sync(one, two)
        await two.values.set("a", 1, 60)
        counts = (one.metrics.lookup_local, one.metrics.lookup_shared, one.metrics.lookup_miss)
        for key, place in (("a", 1), ("b", 2)):
            await wait_in_sync(one)
            before = [count.value for count in counts]
            await one.values.get(key)
            assert [count.value - known for count, known in zip(counts, before, strict=True)] == [
                float(number == place) for number in range(3)
            ]


async def test_flushing_the_server_empties_every_process(shared: Shared) -> None:
    async with open_process(shared.url) as one:
        await wait_in_sync(one)
        await one.values.set("a", 1, 60)
        await wait_local(one, "a", 1)
        shared.clear()

        async def is_missing() -> bool:
            return await one.values.get("a") is None

        await until("the loss", is_missing)


@pytest.mark.needs("redis")
async def test_local_items_replace_an_unavailable_server_and_are_dropped_on_reconnection() -> None:
    with Redis() as server:
        async with open_process(server.url, timeout=0.25, disconnected_ttl=3600) as one:
            await wait_in_sync(one)
            await one.values.set("a", 1, 60)
            await wait_local(one, "a", 1)
            server.kill()

            async def is_lost() -> bool:
                return one.metrics.in_sync.value == 0

            await until("the loss of the connection", is_lost)
            assert await one.values.get("a") == 1
            assert await one.values.get("b") is None
            await one.values.set("b", 2, 60)
            assert await one.values.get("b") == 2
            with pytest.raises(RedisUnavailable):
                await one.values.purge(tag="t")
            assert await one.values.get_or_set("c", 60, make_three) == 3
            server.start()
            await wait_in_sync(one)
            assert await one.values.get_many(["a", "b"]) == {}


@pytest.mark.needs("redis")
async def test_a_hanging_server_is_a_miss_and_no_error() -> None:
    with Redis() as server:
        async with open_process(server.url, timeout=0.25) as one:
            await wait_in_sync(one)
            server.pause()
            try:
                assert (
                    await asyncio.gather(*[one.values.get_or_set(f"{n}", 60, make_three) for n in range(50)])
                    == [3] * 50
                )
            finally:
                server.resume()

            await wait_in_sync(one)
            await one.values.set("a", 1, 60)
            await wait_local(one, "a", 1)


@pytest.mark.needs("redis")
async def test_a_server_that_is_unavailable_at_the_start_is_used_later() -> None:
    with Redis() as server:
        server.kill()
        async with open_process(server.url, timeout=0.25) as one:
            assert await one.values.get_or_set("a", 60, make_three) == 3
            server.start()
            await wait_in_sync(one)
            await one.values.set("a", 1, 60)
            await wait_local(one, "a", 1)
