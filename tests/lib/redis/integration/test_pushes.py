"""Push messages are dispatched separately from replies."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

import pytest

from scalekit.telemetry import Telemetry
from scalekit_redis.connector import Connector
from scalekit_redis.metrics import RedisMetrics
from scalekit_redis.node import Node
from scalekit_redis.pending import pack
from scalekit_redis.url import parse_url
from tests.lib.redis.poll import until
from tests.servers import Redis as Server

pytestmark = pytest.mark.anyio


async def test_push_messages_between_replies_are_dispatched_separately(server: Server, telemetry: Telemetry) -> None:
    pushes: list[list[Any]] = []
    address = parse_url(server.url)
    node = Node("tracked", Connector(address, address.hosts[0]), RedisMetrics(telemetry, "tracked"), pushes.append)

    def call(*args: str) -> asyncio.Future[Any]:
        return node.request(pack(args), monotonic() + 5)

    await node.first_attempt()
    assert await call("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "seen:") == b"OK"
    replies = await asyncio.gather(
        *(call("SET", f"{'seen' if number % 2 else 'not'}:{number}", "x") for number in range(50))
    )
    assert replies == [b"OK"] * 50

    def invalidated_keys() -> set[bytes]:
        return {key for _, keys in pushes for key in keys}

    await until("the invalidations", lambda: len(invalidated_keys()) == 25)
    assert invalidated_keys() == {b"seen:%d" % number for number in range(1, 50, 2)}
    await node.close()
