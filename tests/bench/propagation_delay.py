"""Propagation delay of writes between processes that share a cache, also while its servers fail."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from redis import Redis as RedisPy

from scalekit.telemetry import Telemetry
from scalekit_redis import Connections, RedisUnavailable
from scalekit_redis import Redis as Shared
from tests.bench.row import Goal, Row
from tests.cache.integration.test_redis_faults import SHORT, load
from tests.cache.integration.test_redis_service import get, toml
from tests.lib.caching.redis_processes import Process, open_process, wait_in_sync, wait_local
from tests.processes import wait_for
from tests.servers import Redis, RedisCluster
from tests.service import Service

CLUSTER = "cluster-cache"
KEY = "x"


def measure(writes: int) -> list[Row]:
    """Return milliseconds: the 99th of 100 writes that is noticed, that of requests while Redis hangs."""
    with Redis() as server:
        seen = asyncio.run(_writes(server.url, writes))
    title = "until another process's write, purge or deletion is noticed: p99"
    return [
        Row("cache", title, sorted(seen)[int(len(seen) * 0.99)] * 1e3, "ms", goal=Goal("figure", 50)),
        Row("cache", "wrk, 64 connections, while Redis hangs: p99", _hanging(), "ms", goal=Goal("figure", 300)),
    ]


def measure_failover(rounds: int) -> list[Row]:
    """Return milliseconds: until a replica has taken over from a master that was killed, and until writes go on."""
    rows = []
    for _ in range(rounds):
        with RedisCluster() as cluster:
            rows.append(asyncio.run(_failover(cluster)))
    taken_over, written = (median(each) * 1e3 for each in zip(*rows, strict=True))
    over = Row(CLUSTER, "a master is killed: until its replica has taken over", taken_over, "ms")
    more = written - taken_over
    goal = Goal("more", 200)
    title = "— until it is written to again"
    return [over, Row(CLUSTER, title, written, "ms", over.title, more, written / taken_over, goal)]


async def _writes(url: str, number: int) -> list[float]:
    async with open_process(url) as one, open_process(url) as two:
        await wait_in_sync(one, two)
        return [await _noticed(one, two, place) for place in range(number)]


async def _noticed(one: Process, two: Process, place: int) -> float:
    """Return how long after its change by *one* was done *two* still has an old value."""
    await one.values.set("a", place, 60, tags=["t"])
    await wait_local(two, "a", place)
    changes: list[Callable[[], Awaitable[object]]] = [
        lambda: one.values.set("a", "new", 60),
        lambda: one.values.delete("a"),
        lambda: one.values.purge(tag="t"),
    ]
    await changes[place % len(changes)]()
    began = time.perf_counter()
    while await two.values.get("a") == place:
        await asyncio.sleep(0)
    return time.perf_counter() - began


def _hanging() -> float:
    with TemporaryDirectory() as folder, Redis() as server, Service(toml(server.url, 2), {"service": SHORT}) as service:
        wait_for("the store to be used", lambda: get(service, "/before").status_code == 200 and server.cli("DBSIZE"))
        server.pause()
        try:
            with load(service, Path(folder)) as report:
                return report().p99 * 1e3
        finally:
            server.resume()


async def _failover(cluster: RedisCluster) -> tuple[float, float]:
    """Return after how many seconds the replica of a killed master is one, and after how many a write succeeds."""
    master, replica = cluster.owner(KEY), cluster.replica(KEY)
    address = "redis-cluster://" + ",".join(urlsplit(url).netloc for url in cluster.urls)
    async with Connections(Telemetry(100)).open(address) as redis:
        await redis.set(KEY, "before")
        taken_over: list[float] = []
        watch = threading.Thread(target=_watch, args=(replica.port, taken_over))
        master.kill()
        killed = time.perf_counter()
        watch.start()
        while not await _written(redis):
            await asyncio.sleep(0.005)
        written = time.perf_counter()
        await asyncio.to_thread(watch.join)
    return taken_over[0] - killed, written - killed


def _watch(port: int, taken_over: list[float]) -> None:
    with RedisPy(port=port) as client:
        while client.info("replication")["role"] != "master":
            time.sleep(0.001)
    taken_over.append(time.perf_counter())


async def _written(redis: Shared) -> bool:
    try:
        return await redis.set(KEY, "after")
    except RedisUnavailable:
        return False
