"""Faults of a cluster: a server or all servers are killed or hang, or another cluster has the address."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from functools import partial

import pytest

from scalekit_redis import Connections, Redis, RedisUnavailable
from tests.lib.redis.conftest import cluster_url
from tests.lib.redis.poll import failure, until, until_available
from tests.lib.redis.proxy import open_proxy
from tests.processes import HOST
from tests.servers import ClusterNode, RedisCluster

pytestmark = pytest.mark.anyio

KEYS = [f"key:{number}" for number in range(60)]


@pytest.fixture(autouse=True)
def restart_servers(cluster: RedisCluster) -> Iterator[None]:
    """Start the killed servers, also after a failure: the next test uses the same cluster."""
    yield
    cluster.start()


def keys_of_other_masters(cluster: RedisCluster, key: str) -> list[str]:
    owner = cluster.owner(key)
    return [each for each in KEYS if cluster.owner(each) is not owner]


async def keep_setting(
    redis: Redis, keys: list[str], stop: asyncio.Event, timeout: float | None = None
) -> Counter[str]:
    """Write until *stop* is set; return the number of writes by outcome."""
    outcomes: Counter[str] = Counter()
    while not stop.is_set():
        try:
            await redis.set(random.choice(keys), "value", timeout=timeout)
            outcomes["set"] += 1
        except RedisUnavailable as error:
            outcomes[error.kind] += 1
        await asyncio.sleep(0.002)
    return outcomes


async def test_a_killed_master_is_replaced_by_its_replica_and_the_other_masters_are_not_affected(
    cluster: RedisCluster, connections: Connections
) -> None:
    others = keys_of_other_masters(cluster, "key:1")
    async with connections.open(cluster_url(cluster)) as redis:
        await asyncio.gather(*(redis.set(key, "value", timeout=5) for key in KEYS))
        victim, replica, stop = cluster.owner("key:1"), cluster.replica("key:1"), asyncio.Event()
        elsewhere = asyncio.create_task(keep_setting(redis, others, stop, timeout=60))
        own = asyncio.create_task(keep_setting(redis, ["key:1"], stop))
        await asyncio.to_thread(victim.kill)
        await until_available(lambda: redis.set("key:1", "new"))
        assert await redis.get("key:1") in (b"new", b"value")
        stop.set()
        # Until a cluster has elected a new master it rejects every command (CLUSTERDOWN).
        assert set(await elsewhere) <= {"set", "refused"}
        assert (await own)["unavailable"] > 0
        await until("the promotion of the replica", lambda: cluster.owner("key:1") is replica)
    await asyncio.to_thread(cluster.start)


async def test_with_replica_reads_a_killed_master_fails_no_read(
    cluster: RedisCluster, connections: Connections
) -> None:
    await asyncio.to_thread(cluster.wait_until_agreed)
    async with connections.open(cluster_url(cluster), timeout=1, replica_reads=True) as redis:
        await asyncio.gather(*(redis.set(key, "value") for key in KEYS))
        await until_available(lambda: wait_replicated(redis))
        await asyncio.to_thread(cluster.owner("key:1").kill)
        for _ in range(200):
            assert await redis.get("key:1") == b"value"
    await asyncio.to_thread(cluster.start)


async def wait_replicated(redis: Redis) -> None:
    for _ in range(4):  # replicas are read in turn
        while await redis.mget(KEYS) != [b"value"] * len(KEYS):
            await asyncio.sleep(0.01)


async def test_a_hanging_master_is_replaced_by_its_replica(cluster: RedisCluster, connections: Connections) -> None:
    async with connections.open(cluster_url(cluster)) as redis:
        await until_available(lambda: redis.set("key:1", "value"))
        victim = cluster.owner("key:1")
        victim.pause()
        try:
            assert (await failure(lambda: redis.set("key:1", "x"))).kind == "timeout"
            await until_available(lambda: redis.set("key:1", "new"))
        finally:
            victim.resume()
        await asyncio.to_thread(cluster.wait_until_agreed)
        assert await redis.get("key:1") == b"new"


async def test_the_client_reconnects_to_a_restarted_cluster(cluster: RedisCluster, connections: Connections) -> None:
    async with connections.open(cluster_url(cluster)) as redis:
        await asyncio.to_thread(cluster.kill)
        while (await failure(lambda: redis.get("key:1"))).kind != "unavailable":
            pass
        await failure(redis.probe)
        await asyncio.to_thread(cluster.start)
        for key in KEYS:
            assert await until_available(partial(redis.set, key, "back")) is True
        await redis.probe()


async def test_the_client_connects_to_a_cluster_that_starts_later(
    cluster: RedisCluster, connections: Connections
) -> None:
    await asyncio.to_thread(cluster.kill)
    async with connections.open(cluster_url(cluster)) as redis:
        assert (await failure(lambda: redis.get("key:1"))).kind == "unavailable"
        await asyncio.to_thread(cluster.start)
        assert await until_available(lambda: redis.set("key:1", "value")) is True


async def test_a_new_cluster_at_the_same_seed_is_discovered(cluster: RedisCluster, connections: Connections) -> None:
    async with (
        open_proxy(cluster.nodes[0].port) as seed,
        connections.open(f"redis-cluster://{HOST}:{seed.port}") as redis,
    ):
        await redis.set("key:1", "first")
        with RedisCluster() as second:
            seed.target = second.nodes[0].port
            await asyncio.to_thread(cluster.kill)
            for key in KEYS:
                assert await until_available(partial(redis.set, key, "second")) is True
            assert second.owner("key:1").cli("GET", "key:1") == "second"
            await redis.probe()
    await asyncio.to_thread(cluster.start)


async def test_no_reply_reaches_another_caller_while_connections_are_cut(
    cluster: RedisCluster, connections: Connections
) -> None:
    outcomes: Counter[str] = Counter()
    async with connections.open(cluster_url(cluster), timeout=2) as redis:
        await asyncio.gather(*(redis.set(f"own:{number}", number, timeout=10) for number in range(1000)))
        stop = asyncio.Event()
        cut = 0
        callers = [asyncio.create_task(send_and_cancel(redis, caller, outcomes, stop)) for caller in range(50)]
        for number, victim in enumerate(random.Random(3).choices(cluster.nodes, k=20), 1):
            await until("more commands", partial(has_done, outcomes, number * 500))
            cut += await asyncio.to_thread(drop_clients, victim)
        stop.set()
        await asyncio.gather(*callers)
    assert outcomes["replied"] > 5000
    assert outcomes["cancelled"] > 1000
    assert cut >= 5


def has_done(outcomes: Counter[str], number: int) -> bool:
    return outcomes.total() > number


def drop_clients(node: ClusterNode) -> int:
    """Close the connection of every client; return their number."""
    return int(node.cli("CLIENT", "KILL", "TYPE", "normal"))


async def send_and_cancel(redis: Redis, caller: int, outcomes: Counter[str], stop: asyncio.Event) -> None:
    rng = random.Random(caller)
    while not stop.is_set():
        number = rng.randrange(1000)
        command = asyncio.ensure_future(send_one(redis, rng, number))
        pause = rng.choice((None, None, 0, 0.002))
        if pause is not None:
            await asyncio.sleep(pause)
            command.cancel()
        try:
            await command
            outcomes["replied"] += 1
        except asyncio.CancelledError:
            outcomes["cancelled"] += 1
        except RedisUnavailable as error:
            outcomes[error.kind] += 1


async def send_one(redis: Redis, rng: random.Random, number: int) -> None:
    own = b"%d" % number
    match rng.randrange(3):
        case 0:
            assert await redis.get(f"own:{number}") == own
        case 1:
            assert await redis.call("INCRBY", f"own:{number}", 0) == number
        case _:
            other = rng.randrange(1000)
            assert await redis.mget([f"own:{number}", f"own:{other}"]) == [own, b"%d" % other]
