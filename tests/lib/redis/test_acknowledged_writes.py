"""Writes that a replica acknowledges, and what happens when none does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from scalekit_redis import Connections, Redis, RedisUnavailable, ReplyError
from scalekit_redis.acknowledged_writes import MAX_CONNECTIONS
from tests.lib.redis.conftest import cluster_url
from tests.lib.redis.poll import failure, until_available
from tests.lib.redis.proxy import open_proxy
from tests.lib.redis.test_connections import clients
from tests.processes import HOST, wait_for
from tests.servers import Redis as Server
from tests.servers import RedisCluster

pytestmark = [pytest.mark.anyio, pytest.mark.needs("redis")]


@pytest.fixture(scope="module")
def primary() -> Iterator[Server]:
    with Server("--repl-diskless-sync-delay", "0") as server:
        yield server


@pytest.fixture(scope="module")
def replica(primary: Server) -> Iterator[Server]:
    with Server("--replicaof", HOST, str(primary.port)) as server:
        wait_for("the replica", lambda: "state=online" in primary.cli("INFO", "replication"))
        yield server


async def increment(redis: Redis) -> object:
    return await redis.write_acknowledged([("INCR", "counter")], ack_timeout=0.2)


async def test_the_replica_has_the_write_when_the_replies_are_returned(
    primary: Server, replica: Server, connections: Connections
) -> None:
    async with connections.open(primary.url, timeout=5) as redis:
        await redis.set("text", "x")
        for number in range(1, 20):
            count, error = await redis.write_acknowledged([("INCR", "number"), ("INCR", "text")], ack_timeout=5)
            assert count == number
            assert isinstance(error, ReplyError)
            assert replica.cli("GET", "number") == str(number)


async def test_concurrent_writes_have_a_limited_number_of_connections(
    primary: Server, replica: Server, connections: Connections
) -> None:
    async with connections.open(primary.url, timeout=30) as redis:
        await redis.delete("counter")
        before = clients(primary)
        writes = [redis.write_acknowledged([("INCR", "counter")], ack_timeout=5) for _ in range(200)]
        replies = await asyncio.gather(*writes)
        assert sorted(count for (count,) in replies) == list(range(1, 201))
        assert clients(primary) <= before + MAX_CONNECTIONS
        assert len(redis._router._writes._idle) <= MAX_CONNECTIONS  # type: ignore[attr-defined]  # of this router only


async def test_a_write_without_a_replica_is_unacknowledged_but_executed(
    primary: Server, replica: Server, connections: Connections
) -> None:
    async with connections.open(primary.url, timeout=5) as redis:
        await redis.delete("counter")
        replica.pause()
        try:
            error = await failure(lambda: increment(redis))
        finally:
            replica.resume()
        assert error.kind == "unacknowledged"
        assert "0 of 1 replicas acknowledged the write" in str(error)
        assert await redis.get("counter") == b"1"


async def test_waiting_writes_do_not_delay_other_commands(
    primary: Server, replica: Server, connections: Connections
) -> None:
    async with connections.open(primary.url, timeout=60) as redis:
        await redis.delete("counter")
        replica.pause()
        try:
            writes = [
                asyncio.ensure_future(redis.write_acknowledged([("INCR", "counter")], ack_timeout=60))
                for _ in range(MAX_CONNECTIONS + 5)
            ]
            while int(await redis.get("counter") or 0) < MAX_CONNECTIONS:
                pass
            assert await redis.get("counter") == b"%d" % MAX_CONNECTIONS, "the others wait for a connection"
            error = await failure(lambda: redis.write_acknowledged([("PING",)], ack_timeout=0.0, timeout=0.05))
            assert error.kind == "full"
            for write in writes[::2]:
                write.cancel()
        finally:
            replica.resume()
        done = await asyncio.gather(*writes, return_exceptions=True)
        assert [isinstance(each, asyncio.CancelledError) for each in done] == [True, False] * 7 + [True]
        await redis.write_acknowledged([("INCR", "counter")], ack_timeout=5)


async def test_a_write_whose_connection_is_lost_is_not_sent_again(
    primary: Server, replica: Server, connections: Connections
) -> None:
    async with open_proxy(primary.port) as proxy, connections.open(proxy.url, timeout=60) as redis:
        await redis.delete("counter")
        await until_available(lambda: increment(redis))
        proxy.open.clear()
        segments = proxy.segments
        write = asyncio.ensure_future(increment(redis))
        while proxy.segments == segments:
            await asyncio.sleep(0.001)
        proxy.cut()
        proxy.open.set()
        assert (await failure(lambda: write)).kind == "disconnected"
        assert await redis.get("counter") == b"1"


async def test_a_replica_refuses_the_write(primary: Server, replica: Server, connections: Connections) -> None:
    async with connections.open(f"redis://{HOST}:{replica.port}") as redis:
        assert (await failure(lambda: increment(redis))).kind == "refused"


async def test_a_timeout_below_a_millisecond_does_not_wait_forever(
    primary: Server, replica: Server, connections: Connections
) -> None:
    async with connections.open(primary.url, timeout=5) as redis:
        await redis.write_acknowledged([("INCR", "counter")])
        replica.pause()
        try:
            write = redis.write_acknowledged([("INCR", "counter")], ack_timeout=0.0001)
            assert (await failure(lambda: write)).kind == "unacknowledged"
        finally:
            replica.resume()


async def test_a_cluster_has_no_acknowledged_writes(cluster: RedisCluster, connections: Connections) -> None:
    async with connections.open(cluster_url(cluster)) as redis:
        with pytest.raises(ValueError, match="is a cluster; acknowledged writes need one server or Sentinel"):
            await increment(redis)


async def test_writes_fail_when_the_client_is_closed(
    primary: Server, replica: Server, connections: Connections
) -> None:
    async with connections.open(primary.url, timeout=60) as redis:
        await redis.get("key")
        replica.pause()
        sending = [redis.write_acknowledged([("INCR", "counter")], ack_timeout=60) for _ in range(3 * MAX_CONNECTIONS)]
        writes = [asyncio.ensure_future(each) for each in sending]
        await asyncio.sleep(0.01)
    replica.resume()
    done = await asyncio.gather(*writes, return_exceptions=True)
    assert {each.kind for each in done if isinstance(each, RedisUnavailable)} <= {"closed", "disconnected"}
    assert len(done) == sum(isinstance(each, RedisUnavailable) for each in done)
    assert not [task for task in asyncio.all_tasks() if "redis" in task.get_name()]
