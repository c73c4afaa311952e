"""Large values are no hang, and delay no other command."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from scalekit_redis import Connections, Redis, RedisUnavailable
from tests.lib.redis.conftest import BOTH_LOOPS, node_of
from tests.lib.redis.poll import failure, until
from tests.lib.redis.proxy import open_proxy
from tests.servers import Redis as Server

pytestmark = [pytest.mark.anyio, BOTH_LOOPS, pytest.mark.needs("redis")]
MIB = 1024 * 1024


@pytest.fixture(name="server", scope="module")
def start_large_server() -> Iterator[Server]:
    with Server() as server:
        server.cli("CONFIG", "SET", "maxmemory", "1gb")
        yield server


Work = Callable[[], Awaitable[Any]]


async def run_beside(work: Work, small: Work, times: int = 3) -> None:
    """Run *work* repeatedly while *small* runs concurrently; neither may fail."""
    ends = asyncio.Event()

    async def run_small() -> int:
        count = 0
        while not ends.is_set():
            await asyncio.gather(*(small() for _ in range(10)))
            count += 1
        return count

    running = asyncio.ensure_future(run_small())
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
            await run_beside(lambda: asyncio.gather(work(), work()), lambda: redis.get("small"))  # noqa: B023 - awaited in this turn
            await run_beside(work, lambda: redis.set("small", "y"))
        assert await redis.get("large") == value
        await redis.delete("large")


async def test_a_late_reply_whose_bytes_still_arrive_is_no_hang(server: Server, connections: Connections) -> None:
    async with open_proxy(server.port) as proxy, connections.open(proxy.url, timeout=60) as redis:
        await redis.set("large", bytes(4 * MIB))
        proxy.delay = 0.05
        late = asyncio.ensure_future(failure(lambda: redis.get("large", timeout=0.2)))
        await asyncio.sleep(0)
        behind = [redis.call("INCR", "behind") for _ in range(5)]
        assert (await late).kind == "timeout"
        assert await asyncio.gather(*behind) == [1, 2, 3, 4, 5]
        proxy.delay = 0.0
        await redis.delete("behind", "large")


async def test_commands_during_a_large_reply_use_another_connection(server: Server, connections: Connections) -> None:
    async with open_proxy(server.port) as proxy, connections.open(proxy.url, timeout=60) as redis:
        await redis.set("small", "x")
        await redis.set("large", bytes(8 * MIB))
        before = proxy.accepted
        proxy.delay = 0.05
        large = asyncio.ensure_future(get(redis, "large"))
        await until("another connection", lambda: proxy.accepted > before)
        assert await redis.get("small") == b"x"
        assert not large.done()
        proxy.delay = 0.0
        assert await large == bytes(8 * MIB)
        accepted = proxy.accepted
        for _ in range(3):
            await run_beside(lambda: redis.get("large"), lambda: redis.get("small"))
        assert proxy.accepted == accepted, "a drained connection is used again"


async def get(redis: Redis, key: str) -> bytes | None:
    return await redis.get(key)


async def test_a_server_that_hangs_during_a_large_reply_is_detected(server: Server, connections: Connections) -> None:
    async with open_proxy(server.port) as proxy, connections.open(proxy.url, timeout=60) as redis:
        await redis.set("large", bytes(8 * MIB))
        proxy.delay = 0.05
        before = proxy.accepted
        large = asyncio.ensure_future(failure(lambda: redis.get("large", timeout=0.5)))
        await until("another connection", lambda: proxy.accepted > before)
        proxy.open.clear()
        assert (await large).kind == "timeout"
        await until("the end of the hanging connection", lambda: node_of(redis)._detached == [])
        proxy.delay = 0.0
        proxy.open.set()


async def test_bytes_queued_for_a_connection_are_limited(connections: Connections, server: Server) -> None:
    async with open_proxy(server.port) as proxy, connections.open(proxy.url, timeout=60) as redis:
        await redis.get("small")
        proxy.open.clear()
        proxy.cut()
        error: BaseException | None = None
        sets: list[asyncio.Task[bool]] = []
        while error is None and len(sets) < 100:
            sets.append(asyncio.ensure_future(redis.set("large", bytes(MIB))))
            await asyncio.sleep(0)
            error = next((each.exception() for each in sets if each.done()), None)
        assert isinstance(error, RedisUnavailable)
        proxy.open.set()
        await asyncio.gather(*sets, return_exceptions=True)
