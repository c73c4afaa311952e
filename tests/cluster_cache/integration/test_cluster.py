"""Processes share values on a cluster, and its faults cause no errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from scalekit.errors import Unavailable
from scalekit_redis.slots import slot_of
from tests.cluster_cache.conftest import Process, connect_node, is_master, process
from tests.lib.redis.poll import until
from tests.lib.redis.proxy import open_proxy
from tests.processes import HOST, wait_for
from tests.servers import ClusterNode, RedisCluster

pytestmark = pytest.mark.anyio

KEYS = [f"key:{number}" for number in range(60)]
PURGES = "{scalekit:cluster}:purges"


async def eventually(call: Callable[[], Awaitable[Any]], expected: Any) -> None:
    """Wait until the result of *call* is *expected*."""
    async with asyncio.timeout(60):
        while await call() != expected:
            await asyncio.sleep(0.01)


@asynccontextmanager
async def two(cluster: RedisCluster, **more: Any) -> AsyncGenerator[tuple[Process, Process], None]:
    async with process(cluster, **more) as one, process(cluster, **more) as other:
        await until("both to be in sync", lambda: one.in_sync() and other.in_sync())
        yield one, other


@pytest.mark.parametrize("read_from", ["primary", "replica"])
async def test_a_write_reaches_the_other_process_and_the_last_one_wins(cluster: RedisCluster, read_from: str) -> None:
    async with two(cluster, read_from=read_from) as (one, other):
        for number in range(30):
            writer, reader = (one, other) if number % 2 else (other, one)
            await writer.cache.set("shared", number)
            await eventually(lambda: reader.cache.get("shared"), number)  # noqa: B023
        await one.cache.delete("shared")
        await eventually(lambda: other.cache.get("shared"), None)


async def test_a_local_value_is_returned_without_a_command(cluster: RedisCluster) -> None:
    async with two(cluster) as (one, other):
        await one.cache.set("near", 1)
        await eventually(lambda: other.cache.get("near"), 1)
        lookups = other.count("lookups", "shared")
        for _ in range(20):
            assert await other.cache.get("near") == 1
        assert other.count("lookups", "shared") == lookups
        assert other.count("lookups", "local") >= 20


async def test_a_purge_removes_local_values_of_other_processes(cluster: RedisCluster) -> None:
    async with two(cluster) as (one, other):
        await one.cache.set_many(dict.fromkeys(KEYS, 1), tags=["all"])
        await eventually(lambda: other.cache.get_many(KEYS), dict.fromkeys(KEYS, 1))
        await one.cache.purge(tag="all")
        assert await one.cache.get_many(KEYS) == {}
        await eventually(lambda: other.cache.get_many(KEYS), {})


async def test_a_lagging_replica_returns_no_purged_value(cluster: RedisCluster) -> None:
    async with process(cluster, read_from="replica") as one:
        await one.cache.set_many(dict.fromkeys(KEYS, "old"), tags=["all"])
        await eventually(lambda: one.cache.get_many(KEYS), dict.fromkeys(KEYS, "old"))
        masters = list(filter(is_master, cluster.nodes))
        replicas = [node for node in cluster.nodes if node not in masters]
        for node in replicas:
            await asyncio.to_thread(wait_for, "the replica's copy", partial(has_keys, node))
        for node in masters:  # so that nothing reaches the replicas any more
            node.cli("ACL", "SETUSER", "default", "-psync", "-sync")
            node.cli("CLIENT", "KILL", "TYPE", "replica")
        try:
            for node in replicas:
                await asyncio.to_thread(wait_for, "the replica to be cut off", partial(is_cut_off, node))
            await one.cache.purge(tag="all")
            async with process(cluster, read_from="replica") as fresh:
                for _ in range(20):
                    assert await one.cache.get_many(KEYS) == {}
                    assert await fresh.cache.get_many(KEYS) == {}
            assert all(map(has_keys, replicas))
        finally:
            for node in masters:
                node.cli("ACL", "SETUSER", "default", "+@all")
    await asyncio.to_thread(cluster.wait_until_agreed)


def has_keys(node: ClusterNode) -> bool:
    return int(node.cli("DBSIZE")) > 1


def is_cut_off(node: ClusterNode) -> bool:
    return "master_link_status:down" in node.cli("INFO", "replication")


async def read_until_stopped(one: Process, stop: asyncio.Event) -> int:
    """Read until stopped: each result is the value or missing; any error fails the test."""
    reads = 0
    while not stop.is_set():
        for key in KEYS:
            assert await one.cache.get(key) in ("value", None)
            reads += 1
        assert set((await one.cache.get_many(KEYS)).values()) <= {"value"}
        await one.cache.set(KEYS[reads % len(KEYS)], "value")
    return reads


async def test_when_a_master_fails_no_call_fails_and_writes_resume(cluster: RedisCluster) -> None:
    async with process(cluster, read_from="replica", store_timeout="250ms") as one, process(cluster) as other:
        await one.cache.set_many(dict.fromkeys(KEYS, "value"))
        await eventually(lambda: one.cache.get_many(KEYS), dict.fromkeys(KEYS, "value"))
        stop = asyncio.Event()
        reading = asyncio.create_task(read_until_stopped(one, stop))
        victim = next(cluster.owner(key) for key in KEYS if cluster.owner(key) is not cluster.owner(PURGES))
        await asyncio.to_thread(victim.kill)
        await until("the loss to be noticed", lambda: not one.in_sync())
        await until("errors to be counted", lambda: one.count("store_failures") > 0)
        await until("the recovery", one.in_sync)
        stop.set()
        assert await reading > 0
        for key in KEYS:
            await one.cache.set(key, "after")
        await eventually(lambda: other.cache.get_many(KEYS), dict.fromkeys(KEYS, "after"))
    await asyncio.to_thread(cluster.start)


async def count_local_values(one: Process) -> int:
    """Return how many of the values the process has in memory."""
    before = one.count("lookups", "local")
    await one.cache.get_many(KEYS)
    return int(one.count("lookups", "local") - before)


async def test_values_of_other_masters_are_available_while_a_master_is_down(cluster: RedisCluster) -> None:
    async with process(cluster, read_from="replica", disconnected_ttl="1h") as one:
        await until("in sync", one.in_sync)  # which empties the local level
        await one.cache.set_many(dict.fromkeys(KEYS, "value"))
        await eventually(lambda: one.cache.get_many(KEYS), dict.fromkeys(KEYS, "value"))
        await eventually(partial(count_local_values, one), len(KEYS))
        await asyncio.to_thread(cluster.owner(KEYS[0]).kill)
        for _ in range(20):
            for key in KEYS:  # from a replica or from the process
                assert await one.cache.get(key) == "value"
    await asyncio.to_thread(cluster.start)


async def test_a_planned_failover_causes_no_error(cluster: RedisCluster) -> None:
    async with process(cluster, store_timeout="20s") as one:
        await until("in sync", one.in_sync)
        await one.cache.set_many(dict.fromkeys(KEYS, "value"))
        stop = asyncio.Event()
        reading = asyncio.create_task(read_until_stopped(one, stop))
        await asyncio.to_thread(cluster.hand_over, KEYS[0])
        await until("the recovery", one.in_sync)
        stop.set()
        assert await reading > 0
        assert one.count("store_failures") == 0


async def test_the_cache_recovers_after_all_nodes_were_down(cluster: RedisCluster) -> None:
    async with process(cluster, store_timeout="250ms") as one:
        await until("in sync", one.in_sync)
        await one.cache.set("key", 1, tags=["tag"])
        await asyncio.to_thread(cluster.kill)
        await until("the loss", lambda: not one.in_sync())
        assert await one.cache.get("key") in (1, None)
        await one.cache.set("other", 1)
        assert await one.cache.get_or_set("made", "1h", make) == "made"
        await one.cache.delete("key")
        with pytest.raises(Unavailable):
            await one.cache.purge(tag="tag")
        assert one.count("store_failures") > 0
        await asyncio.to_thread(cluster.start)
        await until("the recovery", one.in_sync)
        await one.cache.set("key", 2)
        await eventually(lambda: one.cache.get("key"), 2)


async def make() -> str:
    return "made"


async def test_the_migration_of_a_slot_causes_no_error_and_no_wrong_value(cluster: RedisCluster) -> None:
    async with two(cluster) as (one, other):
        source = await asyncio.to_thread(cluster.owner, "moving")
        target = next(node for node in cluster.nodes if node is not source and is_master(node))
        await one.cache.set_many(dict.fromkeys(KEYS, "value"))
        stop = asyncio.Event()
        reading = [asyncio.create_task(read_until_stopped(each, stop)) for each in (one, other)]
        slots = await filled_slots(source)
        assert slots
        await move(slots, source, target)
        await until("the agreement on the owners", lambda: agree_on_owners(cluster))  # else an old claim may win
        await move(slots, target, source)
        stop.set()
        assert all(reads > 0 for reads in await asyncio.gather(*reading))
        assert one.count("store_failures") + other.count("store_failures") == 0
        await one.cache.set_many(dict.fromkeys(KEYS, "after"))
        await eventually(lambda: other.cache.get_many(KEYS), dict.fromkeys(KEYS, "after"))
    await asyncio.to_thread(cluster.wait_until_agreed)


def agree_on_owners(cluster: RedisCluster) -> bool:
    """Return whether all nodes see the same slots at the same masters."""
    views = {frozenset((line[0], *line[8:]) for line in node.view() if "master" in line[2]) for node in cluster.nodes}
    return len(views) == 1


async def filled_slots(node: ClusterNode) -> list[int]:
    """Return a few slots of *node* with keys."""
    async with connect_node(node) as redis:
        keys = await redis.call("KEYS", "scalekit:cluster:item:*")
    return sorted({slot_of(key) for key in keys})[:8]


async def move(slots: list[int], source: ClusterNode, target: ClusterNode) -> None:
    """Move *slots* with all their keys, one after the other, as redis-cli's reshard does."""
    async with connect_node(source) as here, connect_node(target) as there:
        origin, place = [(await redis.call("CLUSTER", "MYID")).decode() for redis in (here, there)]
        for slot in slots:
            await there.call("CLUSTER", "SETSLOT", slot, "IMPORTING", origin)
            await here.call("CLUSTER", "SETSLOT", slot, "MIGRATING", place)
            while keys := await here.call("CLUSTER", "GETKEYSINSLOT", slot, 5):
                await here.call("MIGRATE", HOST, target.port, "", 0, 5000, "KEYS", *keys)
            for redis in (there, here):
                await redis.call("CLUSTER", "SETSLOT", slot, "NODE", place)


async def test_replaced_nodes_are_discovered_through_the_seed(
    cluster: RedisCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scalekit_redis.topology.REFRESH_INTERVAL", 3600.0)  # the loss shows that the map is old
    async with open_proxy(cluster.nodes[0].port) as seed, process(nodes=f"{HOST}:{seed.port}") as one:
        await until("in sync", one.in_sync)
        await one.cache.set("key", "first")
        with RedisCluster() as second:
            seed.target = second.nodes[0].port
            await asyncio.to_thread(cluster.kill)
            await until("the loss", lambda: not one.in_sync())
            await until("the recovery", one.in_sync)
            await one.cache.set("key", "second")
            await eventually(lambda: one.cache.get("key"), "second")
            assert any(int(node.cli("DBSIZE")) for node in second.nodes)
    await asyncio.to_thread(cluster.start)


async def test_changes_while_tracking_was_lost_are_dropped_on_reconnection(cluster: RedisCluster) -> None:
    async with two(cluster) as (one, other):
        await one.cache.set("key", "old")
        await eventually(lambda: other.cache.get("key"), "old")
        for node in cluster.nodes:  # while this loop is blocked, so that no process connects in between
            node.cli("CLIENT", "KILL", "TYPE", "normal")
        for node in filter(is_master, cluster.nodes):
            node.cli("FLUSHALL")
        await eventually(lambda: other.cache.get("key"), None)
        await until("the recovery", other.in_sync)
        assert await other.cache.get("key") is None
