"""The memory of a process before a real shared store, kept true by what the store tells."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from scalekit_redis import RedisUnavailable
from tests.cache.conftest import Shared
from tests.lib.caching.test_redis_store import Process, process
from tests.servers import Redis

pytestmark = pytest.mark.anyio


async def until(what: str, condition: Callable[[], Awaitable[bool]]) -> None:
    try:
        async with asyncio.timeout(60):
            while not await condition():
                await asyncio.sleep(0.005)
    except TimeoutError:
        pytest.fail(f"{what} does not come")


async def live(*processes: Process) -> None:
    for each in processes:

        async def is_live(one: Process = each) -> bool:
            return one.metrics.in_sync.value == 1

        await until("hearing of changes", is_live)


async def held(one: Process, key: str, value: object) -> None:
    """Wait until *one* answers for *key* by itself."""

    async def answers() -> bool:
        before = one.metrics.lookup_local.value
        return bool(await one.objects.get(key) == value) and one.metrics.lookup_local.value > before

    await until(f"{value} in the process", answers)


async def test_what_another_process_writes_deletes_or_purges_is_heard_of(shared: Shared) -> None:
    async with process(shared.url) as one, process(shared.url) as two:
        await live(one, two)
        for number, change in enumerate(("set", "delete", "purge")):
            await one.objects.set("a", number, 60, tags=["t"])
            await held(two, "a", number)
            if change == "set":
                await one.objects.set("a", "new", 60)
            elif change == "delete":
                await one.objects.delete("a")
            else:
                await one.objects.purge(tag="t")
            expected = "new" if change == "set" else None

            async def is_heard(wanted: str | None = expected) -> bool:
                return bool(await two.objects.get("a") == wanted)

            await until(f"the {change}", is_heard)
            await live(two)
            assert await two.objects.get("a") == expected


async def test_a_hit_in_the_process_asks_nobody(shared: Shared) -> None:
    async with process(shared.url) as one:
        await live(one)
        await one.objects.set("a", 1, 60, tags=["t"])
        await held(one, "a", 1)
        before = one.metrics.lookup_shared.value + one.metrics.lookup_miss.value
        for _ in range(10):
            assert await one.objects.get("a") == 1
        assert one.metrics.lookup_shared.value + one.metrics.lookup_miss.value == before


async def test_where_an_item_was_found_is_counted_once(shared: Shared) -> None:
    async with process(shared.url) as one, process(shared.url) as two:
        await live(one, two)
        await two.objects.set("a", 1, 60)
        counts = (one.metrics.lookup_local, one.metrics.lookup_shared, one.metrics.lookup_miss)
        for key, place in (("a", 1), ("b", 2)):
            await live(one)
            before = [count.value for count in counts]
            await one.objects.get(key)
            assert [count.value - known for count, known in zip(counts, before, strict=True)] == [
                float(number == place) for number in range(3)
            ]


async def test_when_the_server_is_emptied_so_is_every_process(shared: Shared) -> None:
    async with process(shared.url) as one:
        await live(one)
        await one.objects.set("a", 1, 60)
        await held(one, "a", 1)
        shared.clear()

        async def is_gone() -> bool:
            return await one.objects.get("a") is None

        await until("the loss", is_gone)


@pytest.mark.needs("redis")
async def test_what_the_process_has_replaces_a_server_that_is_gone_and_is_forgotten_when_it_is_back() -> None:
    with Redis() as server:
        async with process(server.url, deadline=0.25, disconnected_ttl=3600) as one:
            await live(one)
            await one.objects.set("a", 1, 60)
            await held(one, "a", 1)
            server.kill()

            async def is_lost() -> bool:
                return one.metrics.in_sync.value == 0

            await until("the loss of the connection", is_lost)
            assert await one.objects.get("a") == 1
            assert await one.objects.get("b") is None
            await one.objects.set("b", 2, 60)
            assert await one.objects.get("b") == 2
            with pytest.raises(RedisUnavailable):
                await one.objects.purge(tag="t")
            assert await one.objects.get_or_set("c", 60, three) == 3
            server.start()
            await live(one)
            assert await one.objects.get_many(["a", "b"]) == {}


async def three() -> int:
    return 3


@pytest.mark.needs("redis")
async def test_a_server_that_hangs_is_a_miss_and_no_error() -> None:
    with Redis() as server:
        async with process(server.url, deadline=0.25) as one:
            await live(one)
            server.pause()
            try:
                assert await asyncio.gather(*[one.objects.get_or_set(f"{n}", 60, three) for n in range(50)]) == [3] * 50
            finally:
                server.resume()

            await live(one)
            await one.objects.set("a", 1, 60)
            await held(one, "a", 1)


@pytest.mark.needs("redis")
async def test_a_server_that_is_gone_at_the_start_is_found_later() -> None:
    with Redis() as server:
        server.kill()
        async with process(server.url, deadline=0.25) as one:
            assert await one.objects.get_or_set("a", 60, three) == 3
            server.start()
            await live(one)
            await one.objects.set("a", 1, 60)
            await held(one, "a", 1)
