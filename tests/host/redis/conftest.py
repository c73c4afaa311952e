from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator

import pytest

from scalekit.redis import Connections, Redis
from scalekit.telemetry import Telemetry
from tests.servers import Redis as Server

SERVERS = {"redis": "redis-server", "valkey": "valkey-server"}


@pytest.fixture(
    scope="package", params=[pytest.param(name, marks=pytest.mark.needs(name)) for name in SERVERS], name="server"
)
def a_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """One of the servers, the same for every test: a test that harms it starts its own."""
    with Server(binary=SERVERS[request.param]) as server:
        yield server


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
