"""What is counted of a connection."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from scalekit.telemetry import Telemetry
from scalekit_redis import Connections
from scalekit_redis.metrics import BREAKERS, COMMANDS, CONNECTIONS, DURATIONS, ERRORS, IN_FLIGHT
from tests.lib.redis.poll import failure, until, until_answered
from tests.lib.redis.proxy import proxy
from tests.servers import Redis as Server

pytestmark = pytest.mark.anyio


def value(telemetry: Telemetry, name: str, *labels: str) -> Any:
    return telemetry.snapshot().families[name].data[labels]


async def test_commands_calls_and_connections_are_counted(
    server: Server, connections: Connections, telemetry: Telemetry
) -> None:
    name = server.url.removesuffix("/0")
    async with connections.open(server.url) as redis:
        await asyncio.gather(*(redis.get("key") for _ in range(5)))
        await redis.pipeline([("GET", "key")] * 10)
        assert value(telemetry, COMMANDS.name, name) == 15
        seconds, counts, _ = value(telemetry, DURATIONS.name, name)
        assert sum(counts) == 6
        await redis.pipeline([("INCR", "word", "too many"), ("PING",)])
        assert value(telemetry, ERRORS.name, name, "reply") == 1
        assert 0 < seconds < 6
        assert value(telemetry, CONNECTIONS.name, name) == 1


async def test_what_fails_is_counted_by_kind_and_what_waits_is_shown(
    server: Server, connections: Connections, telemetry: Telemetry
) -> None:
    async with proxy(server.port) as between:
        name = between.url
        async with connections.open(between.url) as redis:
            await redis.get("key")
            assert value(telemetry, IN_FLIGHT.name, name) == 0
            between.open.clear()
            waiting = asyncio.ensure_future(redis.set("key", "x", timeout=10))
            await failure(lambda: redis.get("key", timeout=0.01))
            assert value(telemetry, IN_FLIGHT.name, name) == 2
            assert value(telemetry, BREAKERS.name, name) == 0
            assert value(telemetry, ERRORS.name, name, "timeout") == 1
            between.refuses = True
            between.open.set()
            await waiting
            between.cut()
            await until("the breaker", lambda: value(telemetry, BREAKERS.name, name) == 1)
            assert (await failure(lambda: redis.get("key"))).kind == "unavailable"
            assert value(telemetry, ERRORS.name, name, "unavailable") == 1
            assert value(telemetry, ERRORS.name, name, "connect") >= 1
            between.refuses = False
            await until_answered(lambda: redis.get("key"))
            assert value(telemetry, BREAKERS.name, name) == 0
            assert value(telemetry, CONNECTIONS.name, name) == 2
        assert value(telemetry, IN_FLIGHT.name, name) == 0
