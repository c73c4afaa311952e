"""Metrics of connections."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from scalekit.telemetry import Telemetry
from scalekit_redis import Connections, redis_instruments
from scalekit_redis.metrics import BREAKERS, COMMANDS, CONNECTIONS, DURATIONS, ERRORS, FAILOVERS, IN_FLIGHT, MASTER
from tests.lib.redis.poll import failure, until, until_available
from tests.lib.redis.proxy import open_proxy
from tests.servers import Redis as Server

pytestmark = pytest.mark.anyio


def value(telemetry: Telemetry, name: str, *labels: str) -> Any:
    return telemetry.snapshot().families[name].data[labels]


async def test_commands_durations_and_connections_are_counted(
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


async def test_errors_are_counted_by_reason_and_gauges_show_commands_in_flight(
    server: Server, connections: Connections, telemetry: Telemetry
) -> None:
    async with open_proxy(server.port) as proxy:
        name = proxy.url
        async with connections.open(proxy.url) as redis:
            await redis.get("key")
            assert value(telemetry, IN_FLIGHT.name, name) == 0
            proxy.open.clear()
            waiting = asyncio.ensure_future(redis.set("key", "x", timeout=10))
            await failure(lambda: redis.get("key", timeout=0.01))
            assert value(telemetry, IN_FLIGHT.name, name) == 2
            assert value(telemetry, BREAKERS.name, name) == 0
            assert value(telemetry, ERRORS.name, name, "timeout") == 1
            proxy.refuses = True
            proxy.open.set()
            await waiting
            proxy.cut()
            await until("the breaker", lambda: value(telemetry, BREAKERS.name, name) == 1)
            assert (await failure(lambda: redis.get("key"))).kind == "unavailable"
            assert value(telemetry, ERRORS.name, name, "unavailable") == 1
            assert value(telemetry, ERRORS.name, name, "connect") >= 1
            proxy.refuses = False
            await until_available(lambda: redis.get("key"))
            assert value(telemetry, BREAKERS.name, name) == 0
            assert value(telemetry, CONNECTIONS.name, name) == 2
        assert value(telemetry, IN_FLIGHT.name, name) == 0


def test_only_a_sentinel_address_has_metrics_of_failovers() -> None:
    assert {MASTER, FAILOVERS}.isdisjoint(redis_instruments("redis://127.0.0.1"))
    assert {MASTER, FAILOVERS}.isdisjoint(redis_instruments("redis-cluster://127.0.0.1"))
    assert {MASTER, FAILOVERS} <= set(redis_instruments("redis-sentinel://127.0.0.1/mymaster"))
