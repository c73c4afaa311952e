"""What an answer costs from a cache in Redis, with and without a level in the process, and what a miss adds."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count
from typing import Any

from starlette.types import Message, Scope

from scalekit import create_app
from scalekit.testing import running
from tests.bench.cases import starlette_bare
from tests.bench.operations import Case, Operation, compare
from tests.servers import Redis as Server
from tests.servers import RedisCluster as ClusterServers

SMALL = "1KiB"
"""A level in which no answer has room."""
POLICIES: list[dict[str, Any]] = [{"path": starlette_bare.PATH, "ttl": "1d", "early_refresh": 0.0}]

Opened = AbstractAsyncContextManager[Operation]


def served(size: str, *, again: bool) -> Callable[[str], Opened]:
    """Ask the same *again*, or something else each time."""

    @asynccontextmanager
    async def opened(address: str) -> AsyncGenerator[Operation, None]:
        cache = {"url": address, "size": size, "deadline": "5s", "policies": POLICIES}
        async with asking({"plugins": {"cache": cache}}, again) as operation:
            yield operation

    return opened


@asynccontextmanager
async def without(address: str) -> AsyncGenerator[Operation, None]:
    async with asking({}, again=False) as operation:
        yield operation


@asynccontextmanager
async def asking(tables: dict[str, Any], again: bool) -> AsyncGenerator[Operation, None]:
    app, numbers = create_app(tables, app=starlette_bare.make()), count()
    async with running(app) as state:

        def ask(_: int) -> Awaitable[object]:
            return app(scope(state, b"" if again else b"n=%d" % next(numbers)), receive, send)

        yield ask


def scope(state: Any, query: bytes) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": starlette_bare.PATH,
        "raw_path": starlette_bare.PATH.encode(),
        "query_string": query,
        "root_path": "",
        "headers": [(b"host", b"127.0.0.1:8000"), (b"accept", b"*/*")],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        "state": state.copy(),
    }


async def receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(message: Message) -> None:
    if message["type"] == "http.response.start" and message["status"] != 200:
        raise ValueError(message["status"])


CASES = {
    "none": Case("an answer without a cache", "redis", without, at_once=32),
    "hit": Case("— from Redis alone, goal 20 µs in all", "redis", served(SMALL, again=True), over="none", at_once=32),
    "near": Case(
        "— from the process, goal 6 µs in all",
        "redis",
        served("64MiB", again=True),
        over="none",
        at_once=32,
    ),
    "miss": Case(
        "— missed and kept in Redis, goal 15 µs more", "redis", served(SMALL, again=False), over="none", at_once=32
    ),
    "cluster": Case("— from a cluster alone", "cluster", served(SMALL, again=True), over="hit", at_once=32),
}


def measure(rounds: int) -> dict[str, float]:
    """Print the table, and return the microseconds of each case by its title."""
    with Server("--maxmemory", "1gb", "--maxmemory-policy", "allkeys-lru") as server, ClusterServers() as cluster:
        hosts = ",".join(url.partition("//")[2].partition("/")[0] for url in cluster.urls)
        print("\n| Cache in Redis | µs | of | over | ratio | goal |")
        print("|---|---|---|---|---|---|")
        return compare(__name__, CASES, {"redis": server.url, "cluster": f"redis-cluster://{hosts}"}, rounds)
