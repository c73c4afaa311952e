"""Servers that die, hang and come back, and networks that cut, delay, split and half-close."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from scalekit.telemetry import Telemetry
from scalekit_redis import Connections, Redis, RedisUnavailable
from scalekit_redis.connector import Connector
from scalekit_redis.metrics import RedisMetrics
from scalekit_redis.node import Node
from scalekit_redis.pending import pack
from scalekit_redis.url import parse_url
from tests.lib.redis.conftest import BOTH_LOOPS
from tests.lib.redis.poll import failure, until, until_answered
from tests.lib.redis.proxy import proxy
from tests.servers import Redis as Server

pytestmark = [pytest.mark.anyio, BOTH_LOOPS]


async def load(redis: Redis, kinds: set[str], stop: asyncio.Event) -> None:
    """Read without end, and note how the reads fail."""
    while not stop.is_set():
        try:
            assert await redis.get("key") == b"value"
        except RedisUnavailable as error:
            kinds.add(error.kind)
        await asyncio.sleep(0.001)


@pytest.mark.needs("redis")
async def test_while_redis_is_dead_callers_are_refused_at_once_and_it_heals(connections: Connections) -> None:
    with Server() as server:
        async with connections.open(server.url) as redis:
            await redis.set("key", "value")
            await asyncio.to_thread(server.kill)
            while (await failure(lambda: redis.get("key"))).kind != "unavailable":
                pass  # what was under way when it died
            with pytest.raises(RedisUnavailable, match=f"^redis://127.0.0.1:{server.port}: ") as caught:
                redis.get("key")  # not even awaited
            assert caught.value.kind == "unavailable"
            assert caught.value.status_code == 503
            await asyncio.to_thread(server.start)
            assert await until_answered(lambda: redis.get("key")) is None


@pytest.mark.needs("redis")
async def test_a_server_that_hangs_is_noticed_and_heals(connections: Connections) -> None:
    with Server() as server:
        async with connections.open(server.url, timeout=0.05) as redis:
            await redis.set("key", "value")
            kinds: set[str] = set()
            stop = asyncio.Event()
            callers = [asyncio.create_task(load(redis, kinds, stop)) for _ in range(16)]
            server.pause()
            await until("the breaker", lambda: "unavailable" in kinds)
            assert kinds <= {"timeout", "unavailable"}
            server.resume()
            assert await until_answered(lambda: redis.get("key")) == b"value"
            stop.set()
            await asyncio.gather(*callers)


async def test_a_reply_that_is_late_is_dropped_and_the_connection_goes_on(
    server: Server, connections: Connections
) -> None:
    async with proxy(server.port) as between, connections.open(between.url) as redis:
        await redis.set("key", "mine")
        between.open.clear()
        error = await failure(lambda: redis.call("ECHO", "timeout", timeout=0.05))
        assert error.kind == "timeout"
        waiting = asyncio.ensure_future(redis.get("key", timeout=10))
        between.open.set()
        assert await waiting == b"mine"
        assert between.accepted == 1


async def test_a_call_that_was_cancelled_leaves_its_reply_to_nobody(server: Server, connections: Connections) -> None:
    async with proxy(server.port) as between, connections.open(between.url) as redis:
        between.open.clear()
        first, second = (asyncio.ensure_future(redis.call("ECHO", word, timeout=10)) for word in "ab")
        await asyncio.sleep(0)
        first.cancel()
        between.open.set()
        assert await second == b"b"
        assert between.accepted == 1


async def test_what_was_written_and_changes_something_is_not_sent_again(
    server: Server, connections: Connections
) -> None:
    server.cli("DEL", "counter")
    async with proxy(server.port) as between, connections.open(between.url) as redis:
        between.open.clear()
        counted = asyncio.ensure_future(redis.call("INCR", "counter", timeout=10))
        segments = between.segments
        await until("the command to arrive", lambda: between.segments > segments)
        between.cut()
        assert (await failure(lambda: counted)).kind == "disconnected"
        between.open.set()
        assert await until_answered(lambda: redis.get("counter")) is None


async def test_a_read_whose_connection_is_lost_is_sent_again(server: Server, connections: Connections) -> None:
    server.cli("SET", "key", "value")
    async with proxy(server.port) as between, connections.open(between.url) as redis:
        await redis.get("key")
        between.open.clear()
        reads: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(redis.get("key", timeout=10)),
            asyncio.ensure_future(redis.mget(["key"])),
        ]
        segments = between.segments
        await until("the commands to arrive", lambda: between.segments > segments)
        between.cut()
        between.open.set()
        assert await asyncio.gather(*reads) == [b"value", [b"value"]]
        assert between.accepted == 2


async def test_a_read_is_not_sent_again_after_its_deadline(server: Server, connections: Connections) -> None:
    async with proxy(server.port) as between, connections.open(between.url) as redis:
        await redis.get("key")
        between.open.clear()
        reading = asyncio.ensure_future(redis.get("key", timeout=0.1))
        segments = between.segments
        await until("the command to arrive", lambda: between.segments > segments)
        between.cut()
        assert (await failure(lambda: reading)).kind == "timeout"


async def test_a_server_that_half_closes_is_left(server: Server, connections: Connections) -> None:
    async with proxy(server.port) as between, connections.open(between.url) as redis:
        assert await redis.call("ECHO", "a") == b"a"
        between.half_close()
        await until("another connection", lambda: between.accepted == 2)
        assert await redis.call("ECHO", "b", timeout=5) == b"b"


async def test_answers_may_come_in_any_pieces(server: Server, connections: Connections) -> None:
    async with proxy(server.port) as between, connections.open(between.url) as redis:
        await redis.get("key")
        between.pieces = 7
        words = [f"word {number}" * (number % 9) for number in range(500)]
        replies = await asyncio.gather(*(redis.call("ECHO", word, timeout=10) for word in words))
        assert [reply.decode() for reply in replies] == words
        assert between.accepted == 1


async def test_a_server_that_hangs_up_at_once_is_not_tried_without_a_pause(
    server: Server, connections: Connections
) -> None:
    async with proxy(server.port) as between, connections.open(between.url) as redis:
        between.refuses = True
        between.cut()
        await until("three attempts", lambda: between.accepted >= 4)
        started, before = time.monotonic(), between.accepted
        await until("three more", lambda: between.accepted >= before + 3)
        assert time.monotonic() - started > 0.2  # of 4, 5 and 6 times 50ms, each at least halved
        between.refuses = False
        await until_answered(lambda: redis.get("key"))


async def test_neither_is_one_that_hangs_up_after_the_greeting(server: Server, connections: Connections) -> None:
    async with proxy(server.port) as between, connections.open(between.url) as redis:
        between.ends_after = b"PONG"
        between.cut()
        await until("three attempts", lambda: between.accepted >= 4)
        started, before = time.monotonic(), between.accepted
        await until("three more", lambda: between.accepted >= before + 3)
        assert time.monotonic() - started > 0.2
        between.ends_after = b""
        await until_answered(lambda: redis.get("key"))


async def test_pauses_grow_while_a_server_is_gone_and_begin_anew_when_it_has_answered(
    server: Server, telemetry: Telemetry
) -> None:
    async with proxy(server.port) as between:
        between.refuses = True
        connector = Connector(parse_url(between.url), ("127.0.0.1", between.port))
        node = Node("node", connector, RedisMetrics(telemetry, "node"), list.clear)
        await until("three failures", lambda: node.failures == 3)
        between.refuses = False
        await until("a connection", lambda: node.connection is not None)
        assert node.failures == 3
        assert await node.request(pack(("PING",)), time.monotonic() + 5) == b"PONG"
        between.cut()
        await until("another connection", lambda: between.accepted == 5)
        assert node.failures == 0
        await node.close()


async def test_no_more_calls_wait_than_may(server: Server, connections: Connections) -> None:
    async with proxy(server.port) as between, connections.open(between.url, timeout=5) as redis:
        await redis.get("key")
        between.open.clear()
        calls = [redis.call("ECHO", number) for number in range(10_000)]
        with pytest.raises(RedisUnavailable, match=r"10000 \w+ in flight already") as caught:
            redis.get("key")
        assert caught.value.kind == "full"
        between.open.set()
        assert await asyncio.gather(*calls) == [b"%d" % number for number in range(10_000)]


async def test_no_more_bytes_wait_than_may(server: Server, connections: Connections) -> None:
    async with proxy(server.port) as between, connections.open(between.url, timeout=60) as redis:
        await redis.get("key")
        between.open.clear()
        value = bytes(1024 * 1024)
        error: BaseException | None = None
        sets: list[asyncio.Task[bool]] = []
        while error is None and len(sets) < 100:
            sets.append(asyncio.ensure_future(redis.set("large", value)))
            await asyncio.sleep(0.001)
            error = next((each.exception() for each in sets if each.done()), None)
        assert isinstance(error, RedisUnavailable)
        assert error.kind == "full"
        assert 16 <= len(sets) < 90  # what the kernel and the proxy hold, and what waits for another wire, comes on top
        between.open.set()
        assert [each for each in await asyncio.gather(*sets, return_exceptions=True) if each is not True] == [error]
        assert await redis.get("large") == value


async def set_alone(redis: Redis, value: str) -> None:
    await redis.set("key", value)


async def set_in_a_pipeline(redis: Redis, value: str) -> None:
    replies = await redis.pipeline([("SET", "key", value), ("PING",)])
    if isinstance(replies[0], Exception):
        raise replies[0]


@pytest.mark.needs("redis")
@pytest.mark.parametrize("write", [set_alone, set_in_a_pipeline])
async def test_a_server_that_became_a_replica_is_left_for_the_one_at_its_address(
    connections: Connections, write: Callable[[Redis, str], Awaitable[None]]
) -> None:
    with Server() as old, Server() as new:
        async with proxy(old.port) as between, connections.open(between.url) as redis:
            assert await redis.set("key", "old") is True
            await redis.probe()
            between.target = new.port
            assert old.cli("REPLICAOF", "127.0.0.1", new.port) == "OK"
            with pytest.raises(RedisUnavailable, match="replica and takes no writes"):
                await redis.probe()
            await until_answered(lambda: write(redis, "new"))
            assert new.cli("GET", "key") == "new"
            await redis.probe()
