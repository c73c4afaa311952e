"""Servers that are killed, hang and restart; connections that are cut, delayed, split and half-closed."""

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
from tests.lib.redis.poll import failure, until, until_available
from tests.lib.redis.proxy import open_proxy
from tests.servers import Redis as Server

pytestmark = [pytest.mark.anyio, BOTH_LOOPS]


async def load(redis: Redis, kinds: set[str], stop: asyncio.Event) -> None:
    """Read until *stop* is set, and record the kinds of failures."""
    while not stop.is_set():
        try:
            assert await redis.get("key") == b"value"
        except RedisUnavailable as error:
            kinds.add(error.kind)
        await asyncio.sleep(0.001)


@pytest.mark.needs("redis")
async def test_while_redis_is_unavailable_commands_fail_at_once_and_recover(connections: Connections) -> None:
    with Server() as server:
        async with connections.open(server.url) as redis:
            await redis.set("key", "value")
            await asyncio.to_thread(server.kill)
            while (await failure(lambda: redis.get("key"))).kind != "unavailable":
                pass  # commands in flight when it was killed
            with pytest.raises(RedisUnavailable, match=f"^redis://127.0.0.1:{server.port}: ") as caught:
                redis.get("key")  # raised without await
            assert caught.value.kind == "unavailable"
            assert caught.value.status_code == 503
            await asyncio.to_thread(server.start)
            assert await until_available(lambda: redis.get("key")) is None


@pytest.mark.needs("redis")
async def test_a_hanging_server_is_detected_and_recovers(connections: Connections) -> None:
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
            assert await until_available(lambda: redis.get("key")) == b"value"
            stop.set()
            await asyncio.gather(*callers)


async def test_a_late_reply_is_dropped_and_the_connection_stays_open(server: Server, connections: Connections) -> None:
    async with open_proxy(server.port) as proxy, connections.open(proxy.url) as redis:
        await redis.set("key", "mine")
        proxy.open.clear()
        error = await failure(lambda: redis.call("ECHO", "timeout", timeout=0.05))
        assert error.kind == "timeout"
        waiting = asyncio.ensure_future(redis.get("key", timeout=10))
        proxy.open.set()
        assert await waiting == b"mine"
        assert proxy.accepted == 1


async def test_the_reply_to_a_cancelled_command_is_dropped(server: Server, connections: Connections) -> None:
    async with open_proxy(server.port) as proxy, connections.open(proxy.url) as redis:
        proxy.open.clear()
        first, second = (asyncio.ensure_future(redis.call("ECHO", word, timeout=10)) for word in "ab")
        await asyncio.sleep(0)
        first.cancel()
        proxy.open.set()
        assert await second == b"b"
        assert proxy.accepted == 1


async def test_a_write_whose_connection_is_lost_is_not_sent_again(server: Server, connections: Connections) -> None:
    server.cli("DEL", "counter")
    async with open_proxy(server.port) as proxy, connections.open(proxy.url) as redis:
        proxy.open.clear()
        counted = asyncio.ensure_future(redis.call("INCR", "counter", timeout=10))
        segments = proxy.segments
        await until("the command to arrive", lambda: proxy.segments > segments)
        proxy.cut()
        assert (await failure(lambda: counted)).kind == "disconnected"
        proxy.open.set()
        assert await until_available(lambda: redis.get("counter")) is None


async def test_a_read_whose_connection_is_lost_is_sent_again(server: Server, connections: Connections) -> None:
    server.cli("SET", "key", "value")
    async with open_proxy(server.port) as proxy, connections.open(proxy.url) as redis:
        await redis.get("key")
        proxy.open.clear()
        reads: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(redis.get("key", timeout=10)),
            asyncio.ensure_future(redis.mget(["key"])),
        ]
        segments = proxy.segments
        await until("the commands to arrive", lambda: proxy.segments > segments)
        proxy.cut()
        proxy.open.set()
        assert await asyncio.gather(*reads) == [b"value", [b"value"]]
        assert proxy.accepted == 2


async def test_a_read_is_not_sent_again_after_its_deadline(server: Server, connections: Connections) -> None:
    async with open_proxy(server.port) as proxy, connections.open(proxy.url) as redis:
        await redis.get("key")
        proxy.open.clear()
        reading = asyncio.ensure_future(redis.get("key", timeout=0.1))
        segments = proxy.segments
        await until("the command to arrive", lambda: proxy.segments > segments)
        proxy.cut()
        assert (await failure(lambda: reading)).kind == "timeout"


async def test_a_half_closed_connection_is_replaced(server: Server, connections: Connections) -> None:
    async with open_proxy(server.port) as proxy, connections.open(proxy.url) as redis:
        assert await redis.call("ECHO", "a") == b"a"
        proxy.half_close()
        await until("another connection", lambda: proxy.accepted == 2)
        assert await redis.call("ECHO", "b", timeout=5) == b"b"


async def test_replies_may_arrive_in_any_pieces(server: Server, connections: Connections) -> None:
    async with open_proxy(server.port) as proxy, connections.open(proxy.url) as redis:
        await redis.get("key")
        proxy.pieces = 7
        words = [f"word {number}" * (number % 9) for number in range(500)]
        replies = await asyncio.gather(*(redis.call("ECHO", word, timeout=10) for word in words))
        assert [reply.decode() for reply in replies] == words
        assert proxy.accepted == 1


async def test_reconnection_to_a_server_that_closes_at_once_has_backoff(
    server: Server, connections: Connections
) -> None:
    async with open_proxy(server.port) as proxy, connections.open(proxy.url) as redis:
        proxy.refuses = True
        proxy.cut()
        await until("three attempts", lambda: proxy.accepted >= 4)
        started, before = time.monotonic(), proxy.accepted
        await until("three more", lambda: proxy.accepted >= before + 3)
        assert time.monotonic() - started > 0.2  # 4, 5 and 6 times 50 ms, each at least halved
        proxy.refuses = False
        await until_available(lambda: redis.get("key"))


async def test_reconnection_to_a_server_that_closes_after_the_handshake_has_backoff(
    server: Server, connections: Connections
) -> None:
    async with open_proxy(server.port) as proxy, connections.open(proxy.url) as redis:
        proxy.ends_after = b"PONG"
        proxy.cut()
        await until("three attempts", lambda: proxy.accepted >= 4)
        started, before = time.monotonic(), proxy.accepted
        await until("three more", lambda: proxy.accepted >= before + 3)
        assert time.monotonic() - started > 0.2
        proxy.ends_after = b""
        await until_available(lambda: redis.get("key"))


async def test_the_backoff_grows_while_a_server_is_unavailable_and_is_reset_by_a_reply(
    server: Server, telemetry: Telemetry
) -> None:
    async with open_proxy(server.port) as proxy:
        proxy.refuses = True
        connector = Connector(parse_url(proxy.url), ("127.0.0.1", proxy.port))
        node = Node("node", connector, RedisMetrics(telemetry, "node"), list.clear)
        await until("three failures", lambda: node.failures == 3)
        proxy.refuses = False
        await until("a connection", lambda: node.connection is not None)
        assert node.failures == 3
        assert await node.request(pack(("PING",)), time.monotonic() + 5) == b"PONG"
        proxy.cut()
        await until("another connection", lambda: proxy.accepted == 5)
        assert node.failures == 0
        await node.close()


async def test_commands_in_flight_are_limited(server: Server, connections: Connections) -> None:
    async with open_proxy(server.port) as proxy, connections.open(proxy.url, timeout=5) as redis:
        await redis.get("key")
        proxy.open.clear()
        calls = [redis.call("ECHO", number) for number in range(10_000)]
        with pytest.raises(RedisUnavailable, match=r"10000 \w+ in flight already") as caught:
            redis.get("key")
        assert caught.value.kind == "full"
        proxy.open.set()
        assert await asyncio.gather(*calls) == [b"%d" % number for number in range(10_000)]


async def test_unsent_bytes_are_limited(server: Server, connections: Connections) -> None:
    async with open_proxy(server.port) as proxy, connections.open(proxy.url, timeout=60) as redis:
        await redis.get("key")
        proxy.open.clear()
        value = bytes(1024 * 1024)
        error: BaseException | None = None
        sets: list[asyncio.Task[bool]] = []
        while error is None and len(sets) < 100:
            sets.append(asyncio.ensure_future(redis.set("large", value)))
            await asyncio.sleep(0.001)
            error = next((each.exception() for each in sets if each.done()), None)
        assert isinstance(error, RedisUnavailable)
        assert error.kind == "full"
        assert 16 <= len(sets) < 90  # plus the buffers of kernel and proxy, and the bytes queued for another connection
        proxy.open.set()
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
async def test_after_a_failover_the_client_connects_to_the_new_server_at_the_address(
    connections: Connections, write: Callable[[Redis, str], Awaitable[None]]
) -> None:
    with Server() as old, Server() as new:
        async with open_proxy(old.port) as proxy, connections.open(proxy.url) as redis:
            assert await redis.set("key", "old") is True
            await redis.probe()
            proxy.target = new.port
            assert old.cli("REPLICAOF", "127.0.0.1", new.port) == "OK"
            with pytest.raises(RedisUnavailable, match="replica and takes no writes"):
                await redis.probe()
            await until_available(lambda: write(redis, "new"))
            assert new.cli("GET", "key") == "new"
            await redis.probe()
