"""Commands on a cluster: where they go, how they are split, and that they follow their keys."""

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


async def test_each_command_goes_straight_to_who_has_its_key(cluster: RedisCluster, clustered: Redis) -> None:
    for node in cluster.nodes:
        node.cli("CONFIG", "RESETSTAT")
    await fill(clustered)
    assert [await clustered.get(key) for key in KEYS] == [key.encode() for key in KEYS]
    gets = [statistic(node, "commandstats", "cmdstat_get") for node in cluster.nodes]
    assert sum(gets) == len(KEYS)
    assert sum(calls > 0 for calls in gets) == 3
    assert not any(statistic(node, "errorstats", "errorstat_MOVED") for node in cluster.nodes)


async def test_commands_on_keys_of_many_slots_are_split_and_their_replies_put_together(clustered: Redis) -> None:
    await fill(clustered)
    wanted = [*KEYS[::3], "none", *KEYS[:5], "{key}:none"]
    values = await clustered.mget(wanted)
    assert values == [key.encode() if key in KEYS else None for key in wanted]
    assert await clustered.delete(*KEYS[:100], "none") == 100
    assert await clustered.mget(KEYS[:101]) == [None] * 100 + [KEYS[100].encode()]
    assert await clustered.mget([]) == []


async def test_a_pipeline_has_its_replies_in_order_and_errors_as_values(clustered: Redis) -> None:
    await fill(clustered)
    replies = await clustered.pipeline([*(("GET", key) for key in KEYS), ("INCR", KEYS[0]), ("PING",)])
    assert replies[:-2] == [key.encode() for key in KEYS]
    assert isinstance(replies[-2], ReplyError)
    assert replies[-1] == b"PONG"


async def test_a_script_goes_where_its_keys_are(clustered: Redis) -> None:
    script = Script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    keys = [f"counter:{number}" for number in range(30)]
    await clustered.delete(*keys)
    assert await asyncio.gather(*(clustered.run_script(script, [key], [5]) for key in keys)) == [5] * 30
    assert await clustered.call("EVALSHA", script.digest, 1, keys[0], 1) == 6


async def test_a_prepared_script_goes_where_its_key_is(clustered: Redis) -> None:
    prepared = clustered.prepare(Script("return redis.call('INCRBY', KEYS[1], ARGV[1])"), (5,))
    keys = [f"prepared:{number}" for number in range(30)]
    await clustered.delete(*keys)
    assert await asyncio.gather(*map(prepared.run, keys)) == [5] * 30
    assert await asyncio.gather(*map(prepared.run, keys)) == [10] * 30


async def test_keys_of_two_slots_in_one_command_are_refused_by_the_server(clustered: Redis) -> None:
    with pytest.raises(ReplyError, match="CROSSSLOT"):
        await clustered.call("SINTER", "a", "b")


async def test_probe_asks_every_server_that_has_slots(cluster: RedisCluster, clustered: Redis) -> None:
    await clustered.probe()
    owner = cluster.owner("key:1")
    owner.pause()
    try:
        with pytest.raises(RedisUnavailable):
            await clustered.probe(timeout=0.05)
    finally:
        owner.resume()
    await asyncio.to_thread(cluster.wait_until_agreed)


async def test_replicas_answer_what_only_reads_where_that_will_do(
    cluster: RedisCluster, connections: Connections
) -> None:
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


async def test_callers_follow_keys_whose_server_changes_places_with_its_replica(
    cluster: RedisCluster, clustered: Redis
) -> None:
    await fill(clustered)
    stop = asyncio.Event()
    callers = [asyncio.create_task(keep_writing(clustered, stop, str(number))) for number in range(8)]
    for key in KEYS[:3]:
        await asyncio.to_thread(cluster.hand_over, key)
    stop.set()
    assert min(await asyncio.gather(*callers)) > 0


async def keep_writing(redis: Redis, stop: asyncio.Event, own: str) -> int:
    """Write and read own keys of all slots until told to stop; return how often."""
    turns = 0
    while not stop.is_set():
        key = f"{own}:{turns % 100}"
        assert await redis.set(key, turns) is True
        assert await redis.get(key) == str(turns).encode()
        turns += 1
    return turns


async def test_callers_follow_a_slot_that_is_moved_while_they_use_it(cluster: RedisCluster, clustered: Redis) -> None:
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
    turns = 0
    while not stop.is_set():
        await redis.call("INCR", keys[turns % len(keys)])
        turns += 1
    return turns


async def keep_reading(redis: Redis, stop: asyncio.Event, keys: list[str]) -> int:
    turns = 0
    while not stop.is_set():
        assert None not in await redis.mget(keys)  # half of them here, half there: it is tried again
        turns += 1
    return turns


def is_primary(node: ClusterNode) -> bool:
    return "role:master" in node.cli("INFO", "replication")


def move_slot(cluster: RedisCluster, slot: int, source: ClusterNode, target: ClusterNode) -> None:
    """Move a slot as redis-cli does, but a few keys at a time."""
    target.cli("CLUSTER", "SETSLOT", slot, "IMPORTING", source.cli("CLUSTER", "MYID"))
    source.cli("CLUSTER", "SETSLOT", slot, "MIGRATING", target.cli("CLUSTER", "MYID"))
    while keys := source.cli("CLUSTER", "GETKEYSINSLOT", slot, 20).split():
        assert source.cli("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys) == "OK"
    for node in (target, source, *cluster.nodes):
        if is_primary(node):
            node.cli("CLUSTER", "SETSLOT", slot, "NODE", target.cli("CLUSTER", "MYID"))


def pending(cluster: ClusterRouter, slot: int | None, *words: str) -> ClusterCommand:
    now = time.monotonic()
    future = asyncio.get_running_loop().create_future()
    return ClusterCommand(
        cluster, None, slot, future, pack(words), started=now, deadline=now + 5, retryable=False, replica=False
    )


async def test_only_what_no_server_can_have_carried_out_is_sent_to_another(clustered: Redis) -> None:
    router = clustered._router
    assert isinstance(router, ClusterRouter)
    disconnected, unavailable = (pending(router, None, "ECHO", word) for word in ("disconnected", "unavailable"))
    assert not router.reroute(disconnected, RedisUnavailable("the connection broke", "disconnected"))
    assert router.reroute(unavailable, RedisUnavailable("it could not be reached", "unavailable"))
    assert await unavailable.future == b"unavailable"
    assert not disconnected.future.done()


async def test_a_slot_that_moved_is_where_it_was_sent_until_the_map_is_read_anew(
    cluster: RedisCluster, clustered: Redis
) -> None:
    router = clustered._router
    assert isinstance(router, ClusterRouter)
    call = pending(router, 7, "PING")
    other = next(node for node in cluster.nodes if is_primary(node))
    assert router.redirect(call, ReplyError(f"MOVED 7 127.0.0.1:{other.port}"))
    node = router._topology.primaries[7]
    assert node is call.node
    assert node is not None
    assert node.host == ("127.0.0.1", other.port)
    assert await call.future == b"PONG"


async def test_half_an_answer_to_what_was_asked_on_the_way_is_not_asked_again(clustered: Redis) -> None:
    router = clustered._router
    assert isinstance(router, ClusterRouter)
    call = pending(router, 7, "GET", "key")
    call.retryable = True
    asking = AskRedirect(call)
    assert asking.retryable
    assert asking.receive(b"OK") is False
    assert not asking.retryable
    assert asking.receive(b"value") is True
    assert await call.future == b"value"


@pytest.mark.needs("redis")
async def test_a_single_server_named_as_a_cluster_is_refused_at_the_start(connections: Connections) -> None:
    with (
        Server() as server,
        pytest.raises(StartError, match=r"is no cluster: .*cluster support disabled.*begins with redis://"),
    ):
        async with connections.open(f"redis-cluster://127.0.0.1:{server.port}"):
            pass


async def test_a_cluster_named_as_a_single_server_says_so_when_a_command_is_sent_on(
    cluster: RedisCluster, connections: Connections
) -> None:
    async with connections.open(cluster.urls[0]) as redis:
        elsewhere = next(key for key in KEYS if cluster.owner(key) is not cluster.nodes[0])
        with pytest.raises(RedisUnavailable, match="the URL of a cluster begins with redis-cluster://"):
            await redis.get(elsewhere)
