from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from inspect import iscoroutinefunction
from itertools import count

import pytest

from scalekit.telemetry import Telemetry
from scalekit_caching.redis_store import RedisStore
from scalekit_redis import Connections
from tests.cache import harness
from tests.processes import HOST
from tests.servers import Redis, RedisCluster


class Shared:
    """A running store: its *url* for the configuration, and its servers."""

    def __init__(self, url: str, servers: list[Redis]) -> None:
        self.url = url
        self.servers = servers

    def clear(self) -> None:
        for server in self.servers:
            server.cli("FLUSHALL")

    def cli(self, *words: object) -> str:
        """Run a command on every server; return the first reply that is no redirection."""
        responses = [server.cli(*words) for server in self.servers]
        return next((response for response in responses if not response.startswith("MOVED")), "")


EVERYWHERE = (
    "test_background_refresh",
    "test_keys",
    "test_request_body",
    "test_response_recorder",
    "test_user_detection_logins",
    "test_user_detection_routes",
    "test_cache_status",
    "test_credentials",
    "test_single_flight",
    "test_freshness",
    "test_decorator",
    "test_value_cache",
    "test_stale_if_error",
    "test_request",
    "test_isolation",
    "test_collapsed_requests",
    "test_validation",
)
"""Suites that hold for every store, here and in tests/lib/caching."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    name = getattr(metafunc.module, "__name__", "")
    if name.rpartition(".")[2] in EVERYWHERE and iscoroutinefunction(metafunc.function):
        needs = pytest.mark.needs("redis")
        stores = [
            pytest.param(name, marks=needs, id=name.partition("_")[0]) for name in ("redis_server", "cluster_servers")
        ]
        metafunc.parametrize("transport", [pytest.param(None, id="memory"), *stores], indirect=True)


@pytest.fixture(autouse=True)
async def transport(request: pytest.FixtureRequest, anyio_backend: str) -> AsyncGenerator[None, None]:
    """Let every harness of the test use the store of the parameter."""
    if getattr(request, "param", None) is None:
        yield
        return
    shared: Shared = request.getfixturevalue(request.param)
    shared.clear()
    async with sharing(shared.url):
        yield


@asynccontextmanager
async def sharing(url: str) -> AsyncGenerator[None, None]:
    """Let every harness that is created inside use a store of its own at *url*."""
    async with Connections(Telemetry(100)).open(url, timeout=10) as redis:
        numbers = count()
        harness.SHARED.append(lambda: RedisStore(redis, f"suite{next(numbers)}"))
        try:
            yield
        finally:
            harness.SHARED.clear()


@pytest.fixture(scope="session", name="redis_server")
def a_redis() -> Iterator[Shared]:
    with Redis() as server:
        yield Shared(server.url, [server])


@pytest.fixture(scope="session", name="valkey_server")
def a_valkey() -> Iterator[Shared]:
    with Redis(binary="valkey-server") as server:
        yield Shared(server.url, [server])


@pytest.fixture(scope="session", name="cluster_servers")
def a_cluster() -> Iterator[Shared]:
    with RedisCluster() as cluster:
        nodes = [node for node in cluster.nodes if "role:master" in node.cli("INFO", "replication")]
        yield Shared("redis-cluster://" + ",".join(f"{HOST}:{node.port}" for node in nodes), list(nodes))


@pytest.fixture(
    params=[
        pytest.param("redis_server", marks=pytest.mark.needs("redis"), id="redis"),
        pytest.param("valkey_server", marks=pytest.mark.needs("valkey"), id="valkey"),
        pytest.param("cluster_servers", marks=pytest.mark.needs("redis"), id="cluster"),
    ],
    name="shared",
)
def a_shared_store(request: pytest.FixtureRequest) -> Shared:
    shared: Shared = request.getfixturevalue(request.param)
    shared.clear()
    return shared
