"""Commands on a cluster: routing, splitting, and redirects."""

from __future__ import annotations

import asyncio
import re
import time

import pytest

from scalekit import StartError
from scalekit_redis import Connections, Redis, RedisUnavailable, ReplyError, Script
from scalekit_redis.cluster import ClusterRouter
from scalekit_redis.cluster_pending import AskRedirect, ClusterCommand
from scalekit_redis.pending import pack
from scalekit_redis.slots import slot_of
from tests.lib.redis.conftest import cluster_url
from tests.servers import ClusterNode, RedisCluster
from tests.servers import Redis as Server

pytestmark = pytest.mark.anyio

KEYS = [f"key:{number}" for number in range(300)]


def statistic(node: ClusterNode, section: str, name: str) -> int:
    found = re.search(rf"{name}:(?:calls|count)=(\d+)", node.cli("INFO", section))
    return int(found.group(1)) if found else 0


async def fill(redis: Redis) -> None:
    await asyncio.gather(*(redis.set(key, key) for key in KEYS))


async def test_each_command_is_sent_to_the_server_of_its_key(cluster: RedisCluster, clustered: Redis) -> None:
    for node in cluster.nodes:
        node.cli("CONFIG", "RESETSTAT")
    await fill(clustered)
    assert [await clustered.get(key) for key in KEYS] == [key.encode() for key in KEYS]
    gets = [statistic(node, "commandstats", "cmdstat_get") for node in cluster.nodes]
    assert sum(gets) == len(KEYS)
    assert sum(calls > 0 for calls in gets) == 3
    assert not any(statistic(node, "errorstats", "errorstat_MOVED") for node in cluster.nodes)


async def test_commands_with_keys_of_many_slots_are_split_and_their_replies_merged(clustered: Redis) -> None:
    await fill(clustered)
    keys = [*KEYS[::3], "none", *KEYS[:5], "{key}:none"]
    values = await clustered.mget(keys)
    assert values == [key.encode() if key in KEYS else None for key in keys]
    assert await clustered.delete(*KEYS[:100], "none") == 100
    assert await clustered.mget(KEYS[:101]) == [None] * 100 + [KEYS[100].encode()]
    assert await clustered.mget([]) == []


async def test_a_pipeline_has_its_replies_in_order_and_errors_as_values(clustered: Redis) -> None:
    await fill(clustered)
    replies = await clustered.pipeline([*(("GET", key) for key in KEYS), ("INCR", KEYS[0]), ("PING",)])
    assert replies[:-2] == [key.encode() for key in KEYS]
    assert isinstance(replies[-2], ReplyError)
    assert replies[-1] == b"PONG"


async def test_a_script_runs_on_the_server_of_its_keys(clustered: Redis) -> None:
    script = Script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    keys = [f"counter:{number}" for number in range(30)]
    await clustered.delete(*keys)
    assert await asyncio.gather(*(clustered.run_script(script, [key], [5]) for key in keys)) == [5] * 30
    assert await clustered.call("EVALSHA", script.digest, 1, keys[0], 1) == 6


async def test_a_prepared_script_runs_on_the_server_of_its_key(clustered: Redis) -> None:
    prepared = clustered.prepare(Script("return redis.call('INCRBY', KEYS[1], ARGV[1])"), (5,))
    keys = [f"prepared:{number}" for number in range(30)]
    await clustered.delete(*keys)
    assert await asyncio.gather(*map(prepared.run, keys)) == [5] * 30
    assert await asyncio.gather(*map(prepared.run, keys)) == [10] * 30


async def test_the_server_rejects_a_command_with_keys_of_two_slots(clustered: Redis) -> None:
    with pytest.raises(ReplyError, match="CROSSSLOT"):
        await clustered.call("SINTER", "a", "b")


async def test_probe_queries_every_server_that_has_slots(cluster: RedisCluster, clustered: Redis) -> None:
    await clustered.probe()
    owner = cluster.owner("key:1")
    owner.pause()
    try:
        with pytest.raises(RedisUnavailable):
            await clustered.probe(timeout=0.05)
    finally:
        owner.resume()
    await asyncio.to_thread(cluster.wait_until_agreed)


async def test_with_replica_reads_the_replicas_execute_reads(cluster: RedisCluster, connections: Connections) -> None:
    await asyncio.to_thread(cluster.wait_until_agreed)
    async with connections.open(cluster_url(cluster), timeout=5, replica_reads=True) as redis:
        await fill(redis)
        for node in cluster.nodes:
            node.cli("CONFIG", "RESETSTAT")
        await asyncio.gather(*(redis.get(key) for key in KEYS))
        gets = {node.port: statistic(node, "commandstats", "cmdstat_get") for node in cluster.nodes}
        replicas = {cluster.replica(key).port for key in KEYS[:20]}
        assert sum(gets[port] for port in replicas) == len(KEYS), gets
        await redis.set(KEYS[0], "new")


async def test_commands_follow_a_planned_failover(cluster: RedisCluster, clustered: Redis) -> None:
    await fill(clustered)
    stop = asyncio.Event()
    callers = [asyncio.create_task(keep_writing(clustered, stop, str(number))) for number in range(8)]
    with cluster.node_timeout(5000):  # a busy node must not cause an unplanned failover, which loses writes
        for key in KEYS[:3]:
            await asyncio.to_thread(cluster.hand_over, key)
        stop.set()
        assert min(await asyncio.gather(*callers)) > 0


async def keep_writing(redis: Redis, stop: asyncio.Event, prefix: str) -> int:
    """Write and read *prefix* keys of all slots until *stop* is set; return the number of rounds."""
    rounds = 0
    while not stop.is_set():
        key = f"{prefix}:{rounds % 100}"
        assert await redis.set(key, rounds) is True
        assert await redis.get(key) == str(rounds).encode()
        rounds += 1
    return rounds


async def test_commands_follow_a_slot_during_its_migration(cluster: RedisCluster, clustered: Redis) -> None:
    keys = [f"{{moving}}:{number}" for number in range(200)]
    for key in keys:
        await clustered.set(key, 0)
    stop = asyncio.Event()
    counting = [asyncio.create_task(keep_counting(clustered, stop, keys[first::4])) for first in range(4)]
    reading = asyncio.create_task(keep_reading(clustered, stop, keys))
    source = cluster.owner(keys[0])
    target = next(node for node in cluster.nodes if is_primary(node) and node is not source)
    await asyncio.to_thread(move_slot, cluster, slot_of(keys[0]), source, target)
    stop.set()
    counted = sum(await asyncio.gather(*counting))
    assert await reading > 0
    assert sum(int(value or 0) for value in await clustered.mget(keys)) == counted
    assert statistic(source, "errorstats", "errorstat_ASK") > 0
    assert cluster.owner(keys[0]) is target


async def keep_counting(redis: Redis, stop: asyncio.Event, keys: list[str]) -> int:
    rounds = 0
    while not stop.is_set():
        await redis.call("INCR", keys[rounds % len(keys)])
        rounds += 1
    return rounds


async def keep_reading(redis: Redis, stop: asyncio.Event, keys: list[str]) -> int:
    rounds = 0
    while not stop.is_set():
        assert None not in await redis.mget(keys)  # half of them on each server: the command is retried
        rounds += 1
    return rounds


def is_primary(node: ClusterNode) -> bool:
    return "role:master" in node.cli("INFO", "replication")


def move_slot(cluster: RedisCluster, slot: int, source: ClusterNode, target: ClusterNode) -> None:
    """Move a slot as redis-cli does, 20 keys at a time."""
    target.cli("CLUSTER", "SETSLOT", slot, "IMPORTING", source.cli("CLUSTER", "MYID"))
    source.cli("CLUSTER", "SETSLOT", slot, "MIGRATING", target.cli("CLUSTER", "MYID"))
    while keys := source.cli("CLUSTER", "GETKEYSINSLOT", slot, 20).split():
        assert source.cli("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys) == "OK"
    for node in (target, source, *cluster.nodes):
        if is_primary(node):
            node.cli("CLUSTER", "SETSLOT", slot, "NODE", target.cli("CLUSTER", "MYID"))


def new_command(cluster: ClusterRouter, slot: int | None, *args: str) -> ClusterCommand:
    now = time.monotonic()
    future = asyncio.get_running_loop().create_future()
    return ClusterCommand(
        cluster, None, slot, future, pack(args), started=now, deadline=now + 5, retryable=False, replica=False
    )


async def test_only_a_command_that_was_not_executed_is_sent_to_another_server(clustered: Redis) -> None:
    router = clustered._router
    assert isinstance(router, ClusterRouter)
    disconnected, unavailable = (new_command(router, None, "ECHO", word) for word in ("disconnected", "unavailable"))
    assert not router.reroute(disconnected, RedisUnavailable("the connection broke", "disconnected"))
    assert router.reroute(unavailable, RedisUnavailable("no connection", "unavailable"))
    assert await unavailable.future == b"unavailable"
    assert not disconnected.future.done()


async def test_a_moved_reply_corrects_the_slot_map(cluster: RedisCluster, clustered: Redis) -> None:
    router = clustered._router
    assert isinstance(router, ClusterRouter)
    call = new_command(router, 7, "PING")
    other = next(node for node in cluster.nodes if is_primary(node))
    assert router.redirect(call, ReplyError(f"MOVED 7 127.0.0.1:{other.port}"))
    node = router._topology.primaries[7]
    assert node is call.node
    assert node is not None
    assert node.host == ("127.0.0.1", other.port)
    assert await call.future == b"PONG"


async def test_a_command_after_asking_is_not_retried_once_the_first_reply_has_arrived(clustered: Redis) -> None:
    router = clustered._router
    assert isinstance(router, ClusterRouter)
    call = new_command(router, 7, "GET", "key")
    call.retryable = True
    asking = AskRedirect(call)
    assert asking.retryable
    assert asking.receive(b"OK") is False
    assert not asking.retryable
    assert asking.receive(b"value") is True
    assert await call.future == b"value"


@pytest.mark.needs("redis")
async def test_the_cluster_url_of_a_standalone_server_fails_the_start(connections: Connections) -> None:
    with (
        Server() as server,
        pytest.raises(StartError, match=r"is no cluster: .*cluster support disabled.*begins with redis://"),
    ):
        async with connections.open(f"redis-cluster://127.0.0.1:{server.port}"):
            pass


async def test_the_standalone_url_of_a_cluster_is_reported_at_the_first_redirect(
    cluster: RedisCluster, connections: Connections
) -> None:
    async with connections.open(cluster.urls[0]) as redis:
        elsewhere = next(key for key in KEYS if cluster.owner(key) is not cluster.nodes[0])
        with pytest.raises(RedisUnavailable, match="the URL of a cluster begins with redis-cluster://"):
            await redis.get(elsewhere)
