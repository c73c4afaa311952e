from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from scalekit.app import create_app
from scalekit.contracts import CLUSTER_CACHE, Cache
from scalekit.telemetry import TELEMETRY, Telemetry
from scalekit.testing import running
from scalekit.testing.conformance import bare_application
from tests.processes import HOST
from tests.servers import RedisCluster

SERVERS = {"redis": "redis-server", "valkey": "valkey-server"}


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=pytest.mark.needs(name)) for name in SERVERS], name="cluster"
)
def a_cluster(request: pytest.FixtureRequest) -> Iterator[RedisCluster]:
    """Start a cluster for the tests of one module, each of which leaves it whole."""
    with RedisCluster(binary=SERVERS[request.param]) as cluster:
        yield cluster


def table(cluster: RedisCluster | None, **more: Any) -> dict[str, Any]:
    """Return the table that names some nodes of *cluster*, patient enough for a busy machine."""
    if cluster is None:
        return more
    return {"nodes": [f"{HOST}:{node.port}" for node in cluster.nodes[:3]], "deadline": "2s", **more}


class Process:
    """A process of a service, as far as the cache is concerned."""

    def __init__(self, cache: Cache, telemetry: Telemetry) -> None:
        self.cache = cache
        self._telemetry = telemetry

    def count(self, name: str, *labels: str) -> float:
        """Return the number of a metric of the plugin."""
        whole = f"scalekit_cluster_cache_{name}"
        return sum(
            value
            for metric, series in self._telemetry.collect()
            if metric.name == whole
            for given, value in series
            if not labels or given == labels
        )


@asynccontextmanager
async def process(cluster: RedisCluster | None = None, **more: Any) -> AsyncGenerator[Process, None]:
    """Run a service with the plugin, around an application that does nothing."""
    app = create_app({"plugins": {"cluster-cache": table(cluster, **more), "metrics": {}}}, app=bare_application)
    async with running(app) as state:
        context = state["scalekit"]
        yield Process(context.get(CLUSTER_CACHE), context.get(TELEMETRY))


Start = Callable[..., AbstractAsyncContextManager[Process]]
