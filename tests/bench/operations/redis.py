"""The connection that callers share beside redis-py's pool, on one server and on a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from urllib.parse import urlsplit

from redis.asyncio import BlockingConnectionPool, RedisCluster
from redis.asyncio import Redis as RedisPy

from scalekit.telemetry import Telemetry
from scalekit_redis import Connections, Redis, Script
from tests.bench.operations import Case, Operation, compare
from tests.bench.row import Row
from tests.servers import Redis as Server
from tests.servers import RedisCluster as ClusterServers

STORED = 1000
VALUE = "x" * 200
COUNT = Script("return redis.call('INCR', KEYS[1])")
CALLERS = 32

Opened = AbstractAsyncContextManager[Operation]


def key(number: int) -> str:
    return f"item:{number % STORED}"


def on_ours(operation: Callable[[Redis, int], Awaitable[object]]) -> Callable[[str], Opened]:
    @asynccontextmanager
    async def opened(address: str) -> AsyncGenerator[Operation, None]:
        async with Connections(Telemetry(100)).open(address, timeout=5) as redis:
            yield lambda number: operation(redis, number)

    return opened


def on_redis_py(operation: Callable[[RedisPy, int], Awaitable[object]]) -> Callable[[str], Opened]:
    @asynccontextmanager
    async def opened(address: str) -> AsyncGenerator[Operation, None]:
        pool = BlockingConnectionPool.from_url(address, max_connections=CALLERS)
        async with RedisPy(connection_pool=pool) as redis:
            yield lambda number: operation(redis, number)
        await pool.disconnect()

    return opened


@asynccontextmanager
async def redis_py_cluster(address: str) -> AsyncGenerator[Operation, None]:
    host, _, port = urlsplit(address).netloc.partition(",")[0].partition(":")
    async with RedisCluster(host=host, port=int(port)) as redis:
        yield lambda number: redis.get(key(number))


@asynccontextmanager
async def redis_py_script(address: str) -> AsyncGenerator[Operation, None]:
    pool = BlockingConnectionPool.from_url(address, max_connections=CALLERS)
    async with RedisPy(connection_pool=pool) as redis:
        script = redis.register_script(COUNT.source)
        yield lambda number: script(keys=[key(number) + ":count"])
    await pool.disconnect()


def get(redis: Redis, number: int) -> Awaitable[object]:
    return redis.get(key(number))


CASES = {
    "redis_py": Case("GET, 32 callers: redis-py's pool", "redis", on_redis_py(lambda r, n: r.get(key(n))), at_once=32),
    "ours": Case("— the shared connection", "redis", on_ours(get), over="redis_py", at_most=0.1, at_once=32),
    "cluster": Case(
        "— the same on a cluster, over one server", "cluster", on_ours(get), over="ours", at_most=1.3, at_once=32
    ),
    "cluster_beside_redis_py": Case(
        "— the same on a cluster, over redis-py's pool", "cluster", on_ours(get), over="redis_py", at_once=32
    ),
    "redis_py_cluster": Case(
        "— redis-py's RedisCluster, over its pool", "cluster", redis_py_cluster, over="redis_py", at_once=32
    ),
    "redis_py_alone": Case(
        "GET, 1 caller: redis-py's pool", "redis", on_redis_py(lambda r, n: r.get(key(n))), at_once=1
    ),
    "alone": Case("— the shared connection", "redis", on_ours(get), over="redis_py_alone", at_most=0.5, at_once=1),
    "redis_py_script": Case("EVALSHA, 32 callers: redis-py", "redis", redis_py_script, at_once=32),
    "script": Case(
        "— the shared connection",
        "redis",
        on_ours(lambda redis, number: redis.run_script(COUNT, [key(number) + ":count"])),
        over="redis_py_script",
        at_most=0.15,
        at_once=32,
    ),
    "redis_py_pipeline": Case(
        "20 GETs in a pipeline, 8 callers: redis-py",
        "redis",
        on_redis_py(lambda redis, number: _pipeline(redis, number)),
        at_once=8,
    ),
    "pipeline": Case(
        "— the shared connection",
        "redis",
        on_ours(lambda redis, number: redis.pipeline([("GET", key(number + n)) for n in range(20)])),
        over="redis_py_pipeline",
        at_most=0.25,
        at_once=8,
    ),
}


def _pipeline(redis: RedisPy, number: int) -> Awaitable[object]:
    pipeline = redis.pipeline(transaction=False)
    for place in range(20):
        pipeline.get(key(number + place))
    return pipeline.execute()


def measure(rounds: int) -> list[Row]:
    """Return the rows."""
    with Server() as server, ClusterServers() as cluster:
        addresses = {"redis": server.url, "cluster": _cluster_url(cluster)}
        for address in addresses.values():
            asyncio.run(_fill(address))
        return compare(__name__, "", CASES, addresses, rounds)


async def _fill(address: str) -> None:
    async with Connections(Telemetry(100)).open(address, timeout=5) as redis:
        await redis.pipeline([("SET", key(number), VALUE) for number in range(STORED)])


def _cluster_url(cluster: ClusterServers) -> str:
    return "redis-cluster://" + ",".join(urlsplit(url).netloc for url in cluster.urls)
