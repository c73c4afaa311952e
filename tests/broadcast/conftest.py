from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest

from scalekit import create_app
from scalekit.contracts import BROADCAST, Broadcast, BroadcastMessage, Subscription
from scalekit.host import Host
from scalekit.testing import running
from scalekit.testing.conformance import bare_application
from tests.processes import HOST
from tests.servers import Redis, RedisCluster

SERVERS = {"redis": "redis-server", "valkey": "valkey-server"}


def url_of(cluster: RedisCluster) -> str:
    return "redis-cluster://" + ",".join(f"{HOST}:{node.port}" for node in cluster.nodes[:3])


@pytest.fixture(
    scope="package",
    name="url",
    params=[
        "memory",
        *(pytest.param(name, marks=pytest.mark.needs(name)) for name in SERVERS),
        pytest.param("cluster", marks=pytest.mark.needs("redis")),
    ],
)
def start_transport(request: pytest.FixtureRequest) -> Iterator[str]:
    """Return the URL of each transport."""
    if request.param == "memory":
        yield "memory:"
    elif request.param == "cluster":
        with RedisCluster() as cluster:
            yield url_of(cluster)
    else:
        with Redis(binary=SERVERS[request.param]) as server:
            yield server.url


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture
def channel() -> str:
    """Return the name of a channel that no other test uses."""
    return f"room:{uuid4().hex}"


def host_of(url: str, **table: Any) -> Host:
    return create_app({"plugins": {"broadcast": {"url": url, **table}}}, app=bare_application)


@asynccontextmanager
async def broadcasts(url: str, **table: Any) -> AsyncGenerator[Broadcast, None]:
    """Run an application with the broadcast of *url*, and yield it."""
    host = host_of(url, **table)
    async with running(host):
        yield host.context.get(BROADCAST)


async def take(messages: Subscription, number: int) -> list[BroadcastMessage]:
    """Return the next *number* messages."""
    async with asyncio.timeout(30):
        return [await anext(messages) for _ in range(number)]


async def data_of(messages: Subscription, number: int) -> list[Any]:
    return [message.data for message in await take(messages, number)]
