"""Large values on their way are no hang, and hold up nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from scalekit_redis import Connections, Redis, RedisUnavailable
from tests.lib.redis.conftest import BOTH_LOOPS
from tests.lib.redis.poll import failure, until
from tests.lib.redis.proxy import proxy
from tests.servers import Redis as Server

pytestmark = [pytest.mark.anyio, BOTH_LOOPS, pytest.mark.needs("redis")]
MIB = 1024 * 1024


@pytest.fixture(name="server", scope="module")
def a_server_with_room() -> Iterator[Server]:
    with Server() as server:
        server.cli("CONFIG", "SET", "maxmemory", "1gb")
        yield server


Work = Callable[[], Awaitable[Any]]


async def beside(work: Work, small: Work, times: int = 3) -> None:
    """Do *work* again and again, and *small* all the while; nothing of either may fail."""
    ends = asyncio.Event()

    async def others() -> int:
        count = 0
        while not ends.is_set():
            await asyncio.gather(*(small() for _ in range(10)))
            count += 1
        return count

    running = asyncio.ensure_future(others())
    for _ in range(times):
        await work()
    ends.set()
    assert await running > 0


@pytest.mark.parametrize("size", [16 * MIB, 50 * MIB])
async def test_small_commands_beside_large_values_do_not_fail(
    server: Server, connections: Connections, size: int
) -> None:
    value = bytes(size)
    async with connections.open(server.url, timeout=60) as redis:
        await redis.set("small", "x")
        await redis.set("large", value)
        for work in (lambda: redis.get("large"), lambda: redis.set("large", value)):
            await beside(lambda: asyncio.gather(work(), work()), lambda: redis.get("small"))  # noqa: B023
            await beside(work, lambda: redis.set("small", "y"))
        assert await redis.get("large") == value
        await redis.delete("large")


async def test_a_reply_that_is_late_while_its_bytes_come_is_no_hang(server: Server, connections: Connections) -> None:
    async with proxy(server.port) as between, connections.open(between.url, timeout=60) as redis:
        await redis.set("large", bytes(4 * MIB))
        between.delay = 0.05
        late = asyncio.ensure_future(failure(lambda: redis.get("large", timeout=0.2)))
        await asyncio.sleep(0)
        behind = [redis.call("INCR", "behind") for _ in range(5)]
        assert (await late).kind == "timeout"
        assert await asyncio.gather(*behind) == [1, 2, 3, 4, 5]
        between.delay = 0.0
        await redis.delete("behind", "large")


async def test_who_asks_while_a_large_reply_comes_has_another_connection(
    server: Server, connections: Connections
) -> None:
    async with proxy(server.port) as between, connections.open(between.url, timeout=60) as redis:
        await redis.set("small", "x")
        await redis.set("large", bytes(8 * MIB))
        before = between.accepted
        between.delay = 0.05
        large = asyncio.ensure_future(get(redis, "large"))
        await until("another connection", lambda: between.accepted > before)
        assert await redis.get("small") == b"x"
        assert not large.done()
        between.delay = 0.0
        assert await large == bytes(8 * MIB)
        accepted = between.accepted
        for _ in range(3):
            await beside(lambda: redis.get("large"), lambda: redis.get("small"))
        assert between.accepted == accepted, "one that is through is used again"


async def get(redis: Redis, key: str) -> bytes | None:
    return await redis.get(key)


async def test_a_server_that_hangs_in_the_middle_of_a_large_reply_is_noticed(
    server: Server, connections: Connections
) -> None:
    async with proxy(server.port) as between, connections.open(between.url, timeout=60) as redis:
        await redis.set("large", bytes(8 * MIB))
        between.delay = 0.05
        before = between.accepted
        large = asyncio.ensure_future(failure(lambda: redis.get("large", timeout=0.5)))
        await until("another connection", lambda: between.accepted > before)
        between.open.clear()
        assert (await large).kind == "timeout"
        await until("the end of the one that hangs", lambda: redis._router.node._detached == [])  # type: ignore[attr-defined]
        between.delay = 0.0
        between.open.set()


async def test_no_more_bytes_wait_for_a_connection_than_may(connections: Connections, server: Server) -> None:
    async with proxy(server.port) as between, connections.open(between.url, timeout=60) as redis:
        await redis.get("small")
        between.open.clear()
        between.cut()
        error: BaseException | None = None
        sets: list[asyncio.Task[bool]] = []
        while error is None and len(sets) < 100:
            sets.append(asyncio.ensure_future(redis.set("large", bytes(MIB))))
            await asyncio.sleep(0)
            error = next((each.exception() for each in sets if each.done()), None)
        assert isinstance(error, RedisUnavailable)
        between.open.set()
        await asyncio.gather(*sets, return_exceptions=True)
