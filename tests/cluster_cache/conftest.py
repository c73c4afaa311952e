from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from scalekit.app import create_app
from scalekit.contracts import CLUSTER_CACHE, Cache
from scalekit.telemetry import TELEMETRY, Telemetry
from scalekit.testing import running
from scalekit.testing.conformance import bare_application
from scalekit_redis import Connections, Redis
from tests.processes import HOST
from tests.servers import ClusterNode, RedisCluster

SERVERS = {"redis": "redis-server", "valkey": "valkey-server"}


@pytest.fixture(
    scope="session", params=[pytest.param(name, marks=pytest.mark.needs(name)) for name in SERVERS], name="any_cluster"
)
def a_cluster_of_either_kind(request: pytest.FixtureRequest) -> Iterator[RedisCluster]:
    with RedisCluster(binary=SERVERS[request.param]) as cluster:
        yield cluster


@pytest.fixture(scope="module", name="cluster")
def a_cluster(any_cluster: RedisCluster) -> RedisCluster:
    """Return an empty cluster for the tests of one module, each of which restores it."""
    return any_cluster.clear()


def table(cluster: RedisCluster | None, **more: Any) -> dict[str, Any]:
    """Return the table that names some nodes of *cluster*, with timeouts for a busy machine."""
    nodes = {} if cluster is None else {"nodes": [f"{HOST}:{node.port}" for node in cluster.nodes[:3]]}
    return {"store_timeout": "2s", **nodes, **more}


class Process:
    """The cache of one process of a service."""

    def __init__(self, cache: Cache, telemetry: Telemetry) -> None:
        self.cache = cache
        self._telemetry = telemetry

    def count(self, name: str, *labels: str) -> float:
        """Return the number of a metric of the plugin, of all its series unless *labels* choose one."""
        family = self._telemetry.snapshot().families.get(f"scalekit_cluster_cache_{name}")
        data = family.data if family else {}
        return sum(float(value) for found, value in data.items() if not labels or found == labels)

    def in_sync(self) -> bool:
        """Tell whether it hears of every change."""
        return self.count("in_sync") == 1


@asynccontextmanager
async def process(cluster: RedisCluster | None = None, **more: Any) -> AsyncGenerator[Process, None]:
    """Run a service with the plugin, around an application that does nothing."""
    app = create_app({"plugins": {"cluster-cache": table(cluster, **more), "metrics": {}}}, app=bare_application)
    async with running(app):
        yield Process(app.context.get(CLUSTER_CACHE), app.context.get(TELEMETRY))


def is_master(node: ClusterNode) -> bool:
    return "role:master" in node.cli("INFO", "replication")


@asynccontextmanager
async def connect_node(node: ClusterNode) -> AsyncGenerator[Redis, None]:
    """Connect to one node, with keys as bytes."""
    async with Connections(Telemetry(100)).open(f"redis://{HOST}:{node.port}", timeout=10) as redis:
        yield redis


@pytest.fixture(scope="module", name="suite_cluster")
def a_cluster_of_one_kind() -> Iterator[RedisCluster]:
    """Start a cluster for tests that also run in memory."""
    with RedisCluster() as cluster:
        yield cluster
