"""Commands that the server did not execute are sent again, within the deadline of the caller."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from scalekit.telemetry import Telemetry
from scalekit_redis import Connections, Redis, RedisUnavailable
from scalekit_redis.metrics import ERRORS
from scalekit_redis.slots import slot_of
from tests.lib.redis.conftest import cluster_url
from tests.lib.redis.poll import until
from tests.processes import HOST
from tests.servers import ClusterNode, RedisCluster
from tests.servers import Redis as Server

pytestmark = pytest.mark.anyio

Send = Callable[[Redis], Awaitable[Any]]


async def set_it(redis: Redis) -> Any:
    return await redis.set("key", "value")


async def set_in_a_pipeline(redis: Redis) -> Any:
    return (await redis.pipeline([("SET", "key", "value"), ("GET", "key"), ("PING",)]))[1] == b"value"


async def get_in_a_pipeline(redis: Redis) -> Any:
    reply = (await redis.pipeline([("EXISTS", "other"), ("GET", "key")]))[1]
    if isinstance(reply, Exception):
        raise reply
    return reply == b"value"


async def get_it(redis: Redis) -> Any:
    return await redis.get("key") == b"value"


WRITES = [set_it, set_in_a_pipeline]
READS = [get_it, get_in_a_pipeline]


def error_replies(telemetry: Telemetry) -> float:
    """Return the number of error replies."""
    family = telemetry.snapshot().families.get(ERRORS.name)
    return sum(count for labels, count in family.data.items() if labels[1] == "reply") if family else 0.0


async def check_replies_after_rejections(
    redis: Redis, telemetry: Telemetry, commands: list[Send], end: Callable[[], object]
) -> None:
    """Send commands that are rejected until *end*; check that they succeed after it."""
    pending = [asyncio.ensure_future(send(redis)) for send in commands]
    before = error_replies(telemetry)
    await until("a rejection", lambda: error_replies(telemetry) > before + len(commands))
    assert not any(each.done() for each in pending)
    await asyncio.to_thread(end)
    assert await asyncio.gather(*pending) == [True] * len(commands)


@asynccontextmanager
async def busy(server: Server) -> AsyncGenerator[None, None]:
    """Keep *server* busy with a script while inside."""
    server.cli("CONFIG", "SET", "lua-time-limit", "10")
    _, writer = await asyncio.open_connection(HOST, server.port)
    writer.write(b"EVAL 'while true do end' 0\r\n")
    await writer.drain()
    await until("a busy server", lambda: server.cli("GET", "key").startswith("BUSY"))
    try:
        yield
    finally:
        server.cli("SCRIPT", "KILL")
        writer.close()


async def test_commands_that_a_busy_server_rejects_are_sent_again(
    server: Server, connections: Connections, telemetry: Telemetry
) -> None:
    server.cli("SET", "key", "value")
    async with connections.open(server.url, timeout=60) as redis:
        await redis.get("key")
        async with busy(server):
            await check_replies_after_rejections(
                redis, telemetry, [*WRITES, *READS], lambda: server.cli("SCRIPT", "KILL")
            )


async def test_a_busy_server_does_not_fail_the_start(server: Server, connections: Connections) -> None:
    async with busy(server), connections.open(server.url, timeout=60) as redis:
        pending = asyncio.ensure_future(set_it(redis))
        await asyncio.sleep(0)
        server.cli("SCRIPT", "KILL")
        assert await pending


async def test_a_rejection_that_outlasts_the_deadline_is_raised(server: Server, connections: Connections) -> None:
    async with connections.open(server.url, timeout=0.2) as redis:
        await redis.get("key")
        async with busy(server):
            for send in (get_it, get_in_a_pipeline):
                with pytest.raises(RedisUnavailable) as caught:
                    await send(redis)
                assert caught.value.kind in ("refused", "timeout")


@pytest.mark.needs("redis")
async def test_commands_that_a_replica_rejects_are_sent_again(connections: Connections, telemetry: Telemetry) -> None:
    with Server() as server, Server() as master:
        async with connections.open(server.url, timeout=60) as redis:
            await redis.set("key", "value")
            server.cli("REPLICAOF", HOST, master.port)
            await check_replies_after_rejections(
                redis, telemetry, [*WRITES], lambda: server.cli("REPLICAOF", "NO", "ONE")
            )


@pytest.mark.needs("redis")
async def test_commands_that_a_replica_without_its_master_rejects_are_sent_again(
    connections: Connections, telemetry: Telemetry
) -> None:
    with Server() as server, Server() as master:
        async with connections.open(server.url, timeout=60) as redis:
            await redis.set("key", "value")
            server.cli("CONFIG", "SET", "replica-serve-stale-data", "no")
            await asyncio.to_thread(master.kill)
            server.cli("REPLICAOF", HOST, master.port)
            await check_replies_after_rejections(
                redis, telemetry, [*READS], lambda: server.cli("REPLICAOF", "NO", "ONE")
            )


@pytest.mark.needs("redis")
async def test_commands_that_a_loading_server_rejects_are_sent_again(connections: Connections) -> None:
    slowly = ("--key-load-delay", "2000", "--loading-process-events-interval-bytes", "1024")
    with Server(*slowly) as server:
        server.cli("EVAL", "for n = 1, 1000 do redis.call('SET', 'k' .. n, string.rep('x', 100)) end", 0)
        server.cli("SET", "key", "value")
        assert server.cli("SAVE") == "OK"
        async with connections.open(server.url, timeout=60) as redis:
            await redis.get("key")
            await asyncio.to_thread(server.kill)
            starting = asyncio.ensure_future(asyncio.to_thread(server.start))
            kinds: set[str] = set()
            replied_once = False
            while not replied_once:
                try:
                    replied_once = await get_it(redis) and await set_it(redis)
                except RedisUnavailable as error:
                    kinds.add(error.kind)
                    await asyncio.sleep(0.005)
            assert kinds <= {"unavailable", "disconnected"}, "without a listening server commands fail at once"
            await starting


async def test_commands_that_a_failed_cluster_rejects_are_sent_again(
    cluster: RedisCluster, connections: Connections, telemetry: Telemetry
) -> None:
    async with connections.open(cluster_url(cluster), timeout=120) as redis:
        await redis.set("key", "value")
        master = next(node for node in cluster.nodes if not _is_replica_or_has(node, slot_of("key")))
        killed = [master, *(node for node in cluster.nodes if _is_replica_of(node, master))]
        for node in killed:
            await asyncio.to_thread(node.kill)
        survivor = next(node for node in cluster.nodes if node not in killed)
        try:
            await until("the end of the cluster", lambda: "state:fail" in survivor.cli("CLUSTER", "INFO"), limit=60)
        except TimeoutError:
            await asyncio.to_thread(cluster.start)
            raise
        await check_replies_after_rejections(redis, telemetry, [set_it, get_it], cluster.start)


def _is_replica_or_has(node: ClusterNode, slot: int) -> bool:
    """Return whether *node* is a replica, or the master that has *slot*."""
    me = next(line for line in node.cli("CLUSTER", "NODES").splitlines() if "myself" in line).split()
    ranges = [part.split("-") for part in me[8:] if part[0].isdigit()]
    return "slave" in me[2] or any(int(first[0]) <= slot <= int(first[-1]) for first in ranges)


def _is_replica_of(node: ClusterNode, master: ClusterNode) -> bool:
    """Return whether *node* is a replica of *master*."""
    identifier = master.cli("CLUSTER", "MYID")
    me = next(line for line in node.cli("CLUSTER", "NODES").splitlines() if "myself" in line).split()
    return bool(me[3] == identifier)


async def test_commands_rejected_during_a_slot_migration_are_sent_again(
    cluster: RedisCluster, connections: Connections, telemetry: Telemetry
) -> None:
    async def get_both(redis: Redis) -> Any:
        return await redis.mget(["{key}1", "{key}2"]) == [b"1", None]

    async with connections.open(cluster_url(cluster), timeout=60) as redis:
        await redis.set("{key}1", "1")
        slot = slot_of("key")
        masters = [node for node in cluster.nodes if node.cli("ROLE").split()[0] == "master"]
        owner = next(node for node in masters if _is_replica_or_has(node, slot))
        other = next(node for node in masters if node is not owner)
        assert other.cli("CLUSTER", "SETSLOT", slot, "IMPORTING", owner.cli("CLUSTER", "MYID")) == "OK"
        assert owner.cli("CLUSTER", "SETSLOT", slot, "MIGRATING", other.cli("CLUSTER", "MYID")) == "OK"

        def end() -> None:
            for node in (owner, other):
                node.cli("CLUSTER", "SETSLOT", slot, "STABLE")

        try:
            await check_replies_after_rejections(redis, telemetry, [get_both], end)
        finally:
            end()
