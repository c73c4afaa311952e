"""What a limit that is counted in Redis adds to an answer, alone and beside a cache in the same Redis."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from tests.bench.operations import Case, Operation, compare
from tests.bench.operations.cache import POLICIES, SMALL, asking, without
from tests.servers import Redis as Server
from tests.servers import RedisCluster as ClusterServers

Opened = AbstractAsyncContextManager[Operation]


def limited(*, cached: bool) -> Callable[[str], Opened]:
    @asynccontextmanager
    async def opened(address: str) -> AsyncGenerator[Operation, None]:
        plugins: dict[str, Any] = {"ratelimit": {"url": address, "default": "1000000/s", "deadline": "5s"}}
        if cached:
            plugins["cache"] = {"url": address, "size": SMALL, "deadline": "5s", "policies": POLICIES}
        async with asking({"plugins": plugins}, again=True) as operation:
            yield operation

    return opened


@asynccontextmanager
async def cached_alone(address: str) -> AsyncGenerator[Operation, None]:
    cache = {"url": address, "size": SMALL, "deadline": "5s", "policies": POLICIES}
    async with asking({"plugins": {"cache": cache}}, again=True) as operation:
        yield operation


CASES = {
    "none": Case("an answer without a limit", "redis", without, at_once=32),
    "limit": Case("— with one, goal 10 µs more", "redis", limited(cached=False), over="none", at_once=32),
    "cluster": Case("— with one in a cluster", "cluster", limited(cached=False), over="none", at_once=32),
    "cached": Case("an answer from a cache in Redis", "redis", cached_alone, at_once=32),
    "both": Case("— with a limit, in one trip", "redis", limited(cached=True), over="cached", at_once=32),
}


def measure(rounds: int) -> dict[str, float]:
    """Print the table, and return the microseconds of each case by its title."""
    with Server() as server, ClusterServers() as cluster:
        hosts = ",".join(url.partition("//")[2].partition("/")[0] for url in cluster.urls)
        print("\n| Limit in Redis | µs | of | over | ratio | goal |")
        print("|---|---|---|---|---|---|")
        return compare(__name__, CASES, {"redis": server.url, "cluster": f"redis-cluster://{hosts}"}, rounds)
