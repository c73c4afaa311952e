"""A cluster that loses a server, all servers, or its place."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from functools import partial

import pytest

from scalekit_redis import Connections, Redis, RedisUnavailable
from tests.lib.redis.conftest import cluster_url
from tests.lib.redis.poll import failure, until, until_answered
from tests.lib.redis.proxy import proxy
from tests.processes import HOST
from tests.servers import ClusterNode, RedisCluster

pytestmark = pytest.mark.anyio

KEYS = [f"key:{number}" for number in range(60)]


@pytest.fixture(autouse=True)
def whole(cluster: RedisCluster) -> Iterator[None]:
    """Start what a test has killed, though it fails: the next test has the same cluster."""
    yield
    cluster.start()


def others_of(cluster: RedisCluster, key: str) -> list[str]:
    owner = cluster.owner(key)
    return [each for each in KEYS if cluster.owner(each) is not owner]


async def keep_setting(
    redis: Redis, keys: list[str], stop: asyncio.Event, timeout: float | None = None
) -> Counter[str]:
    """Write until told to stop; return how it ended how often."""
    outcomes: Counter[str] = Counter()
    while not stop.is_set():
        try:
            await redis.set(random.choice(keys), "value", timeout=timeout)
            outcomes["set"] += 1
        except RedisUnavailable as error:
            outcomes[error.kind] += 1
        await asyncio.sleep(0.002)
    return outcomes


async def test_when_a_server_dies_the_others_go_on_and_its_replica_takes_its_place(
    cluster: RedisCluster, connections: Connections
) -> None:
    others = others_of(cluster, "key:1")
    async with connections.open(cluster_url(cluster)) as redis:
        await asyncio.gather(*(redis.set(key, "value", timeout=5) for key in KEYS))
        victim, replica, stop = cluster.owner("key:1"), cluster.replica("key:1"), asyncio.Event()
        elsewhere = asyncio.create_task(keep_setting(redis, others, stop, timeout=60))
        here = asyncio.create_task(keep_setting(redis, ["key:1"], stop))
        await asyncio.to_thread(victim.kill)
        await until_answered(lambda: redis.set("key:1", "new"))
        assert await redis.get("key:1") in (b"new", b"value")
        stop.set()
        # A cluster that has lost a server until it has agreed on the next refuses everything (CLUSTERDOWN).
        assert set(await elsewhere) <= {"set", "refused"}
        assert (await here)["unavailable"] > 0
        await until("all to know of it", lambda: cluster.owner("key:1") is replica)
    await asyncio.to_thread(cluster.start)


async def test_reads_go_on_where_a_replica_will_do(cluster: RedisCluster, connections: Connections) -> None:
    await asyncio.to_thread(cluster.wait_until_agreed)
    async with connections.open(cluster_url(cluster), timeout=1, replica_reads=True) as redis:
        await asyncio.gather(*(redis.set(key, "value") for key in KEYS))
        await until_answered(lambda: same(redis))
        await asyncio.to_thread(cluster.owner("key:1").kill)
        for _ in range(200):
            assert await redis.get("key:1") == b"value"
    await asyncio.to_thread(cluster.start)


async def same(redis: Redis) -> None:
    for _ in range(4):  # of each replica in its turn
        while await redis.mget(KEYS) != [b"value"] * len(KEYS):
            await asyncio.sleep(0.01)


async def test_a_server_that_hangs_is_replaced(cluster: RedisCluster, connections: Connections) -> None:
    async with connections.open(cluster_url(cluster)) as redis:
        await until_answered(lambda: redis.set("key:1", "value"))
        victim = cluster.owner("key:1")
        victim.pause()
        try:
            assert (await failure(lambda: redis.set("key:1", "x"))).kind == "timeout"
            await until_answered(lambda: redis.set("key:1", "new"))
        finally:
            victim.resume()
        await asyncio.to_thread(cluster.wait_until_agreed)
        assert await redis.get("key:1") == b"new"


async def test_all_servers_may_go_and_come_back(cluster: RedisCluster, connections: Connections) -> None:
    async with connections.open(cluster_url(cluster)) as redis:
        await asyncio.to_thread(cluster.kill)
        while (await failure(lambda: redis.get("key:1"))).kind != "unavailable":
            pass
        await failure(redis.probe)
        await asyncio.to_thread(cluster.start)
        for key in KEYS:
            assert await until_answered(partial(redis.set, key, "back")) is True
        await redis.probe()


async def test_a_cluster_that_is_not_there_yet_is_found_when_it_comes(
    cluster: RedisCluster, connections: Connections
) -> None:
    await asyncio.to_thread(cluster.kill)
    async with connections.open(cluster_url(cluster)) as redis:
        assert (await failure(lambda: redis.get("key:1"))).kind == "unavailable"
        await asyncio.to_thread(cluster.start)
        assert await until_answered(lambda: redis.set("key:1", "value")) is True


async def test_another_cluster_behind_the_same_seed_is_found(cluster: RedisCluster, connections: Connections) -> None:
    async with proxy(cluster.nodes[0].port) as seed, connections.open(f"redis-cluster://{HOST}:{seed.port}") as redis:
        await redis.set("key:1", "first")
        with RedisCluster() as second:
            seed.target = second.nodes[0].port
            await asyncio.to_thread(cluster.kill)
            for key in KEYS:
                assert await until_answered(partial(redis.set, key, "second")) is True
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
        callers = [asyncio.create_task(ask_and_cancel(redis, caller, outcomes, stop)) for caller in range(50)]
        for number, victim in enumerate(random.Random(3).choices(cluster.nodes, k=20), 1):
            await until("more commands", partial(has_done, outcomes, number * 500))
            cut += await asyncio.to_thread(drop_clients, victim)
        stop.set()
        await asyncio.gather(*callers)
    assert outcomes["answered"] > 5000
    assert outcomes["cancelled"] > 1000
    assert cut >= 5


def has_done(outcomes: Counter[str], number: int) -> bool:
    return outcomes.total() > number


def drop_clients(node: ClusterNode) -> int:
    """Cut every client's connection, and return how many those were."""
    return int(node.cli("CLIENT", "KILL", "TYPE", "normal"))


async def ask_and_cancel(redis: Redis, caller: int, outcomes: Counter[str], stop: asyncio.Event) -> None:
    chance = random.Random(caller)
    while not stop.is_set():
        number = chance.randrange(1000)
        asking = asyncio.ensure_future(ask(redis, chance, number))
        patience = chance.choice((None, None, 0, 0.002))
        if patience is not None:
            await asyncio.sleep(patience)
            asking.cancel()
        try:
            await asking
            outcomes["answered"] += 1
        except asyncio.CancelledError:
            outcomes["cancelled"] += 1
        except RedisUnavailable as error:
            outcomes[error.kind] += 1


async def ask(redis: Redis, chance: random.Random, number: int) -> None:
    own = b"%d" % number
    match chance.randrange(3):
        case 0:
            assert await redis.get(f"own:{number}") == own
        case 1:
            assert await redis.call("INCRBY", f"own:{number}", 0) == number
        case _:
            other = chance.randrange(1000)
            assert await redis.mget([f"own:{number}", f"own:{other}"]) == [own, b"%d" % other]
