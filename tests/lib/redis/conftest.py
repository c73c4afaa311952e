from __future__ import annotations

import subprocess
import tempfile
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest

from scalekit.telemetry import Telemetry
from scalekit_redis import Connections, Redis
from scalekit_redis.node import Node
from scalekit_redis.sentinel import SentinelRouter
from scalekit_redis.sentinels import Sentinels
from scalekit_redis.standalone import StandaloneRouter
from tests.processes import HOST
from tests.servers import Redis as Server
from tests.servers import RedisCluster, SentinelGroup

SERVERS = {"redis": "redis-server", "valkey": "valkey-server"}
ALSO_SENTINEL = pytest.mark.parametrize(
    "server",
    [
        pytest.param("redis", marks=pytest.mark.needs("redis")),
        pytest.param("valkey", marks=pytest.mark.needs("valkey")),
        pytest.param("sentinel", marks=pytest.mark.needs("redis")),
    ],
    indirect=True,
)
"""Runs the tests of a module on the master of Sentinels too."""


@pytest.fixture(
    scope="package", params=[pytest.param(name, marks=pytest.mark.needs(name)) for name in SERVERS], name="server"
)
def start_server(request: pytest.FixtureRequest) -> Iterator[Server | SentinelGroup]:
    """Start a server for all tests; a test that stops or changes it starts its own."""
    with SentinelGroup() if request.param == "sentinel" else Server(binary=SERVERS[request.param]) as server:
        yield server


UVLOOP = ("asyncio", {"use_uvloop": True})
BOTH_LOOPS = pytest.mark.parametrize(
    "anyio_backend", [("asyncio", {"use_uvloop": False}), UVLOOP], ids=["asyncio", "uvloop"]
)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return UVLOOP


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry(100)


@pytest.fixture
def connections(telemetry: Telemetry) -> Connections:
    return Connections(telemetry)


@pytest.fixture
async def redis(server: Server, connections: Connections) -> AsyncGenerator[Redis, None]:
    server.cli("FLUSHALL")
    async with connections.open(server.url) as redis:
        yield redis


@pytest.fixture(
    scope="session", params=[pytest.param(name, marks=pytest.mark.needs(name)) for name in SERVERS], name="any_cluster"
)
def start_cluster(request: pytest.FixtureRequest) -> Iterator[RedisCluster]:
    with RedisCluster(binary=SERVERS[request.param]) as cluster:
        yield cluster


@pytest.fixture(scope="module", name="cluster")
def empty_cluster(any_cluster: RedisCluster) -> RedisCluster:
    """Return an empty cluster for the tests of one module, each of which restores its servers."""
    return any_cluster.clear()


def node_of(redis: Redis) -> Node:
    """Return the node of the client of a standalone server."""
    assert isinstance(redis._router, StandaloneRouter)
    return redis._router.node


def sentinels_of(redis: Redis) -> Sentinels:
    """Return the Sentinels of the client."""
    assert isinstance(redis._router, SentinelRouter)
    return redis._router._sentinels


def cluster_url(cluster: RedisCluster) -> str:
    return "redis-cluster://" + ",".join(f"{HOST}:{node.port}" for node in cluster.nodes[:3])


@pytest.fixture
async def clustered(cluster: RedisCluster, connections: Connections) -> AsyncGenerator[Redis, None]:
    async with connections.open(cluster_url(cluster), timeout=5) as redis:
        yield redis


@pytest.fixture(scope="package")
def certificate() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"]
        names = ["-addext", f"subjectAltName=IP:{HOST}", "-keyout", f"{folder}/key.pem", "-out", f"{folder}/cert.pem"]
        subprocess.run([*request, *names], check=True, capture_output=True)
        yield Path(folder)


class SecureServer(Server):
    """Accepts TLS on a second port."""

    port_count = 2

    def __init__(self, certificate: Path, binary: str = "redis-server") -> None:
        files = ["--tls-cert-file", f"{certificate}/cert.pem", "--tls-key-file", f"{certificate}/key.pem"]
        super().__init__(
            *files, "--tls-ca-cert-file", f"{certificate}/cert.pem", "--tls-auth-clients", "no", binary=binary
        )

    def command(self) -> list[object]:
        return [*super().command(), "--tls-port", self.ports[1]]
