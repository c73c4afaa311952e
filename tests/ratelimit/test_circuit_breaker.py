"""The health check fails during an outage, not after a single timeout."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import cast

import pytest

from scalekit.testing import request, running
from scalekit_ratelimit import circuit_breaker as module
from scalekit_ratelimit.circuit_breaker import RECOVERED_AFTER, UNHEALTHY_AFTER, CircuitBreaker
from scalekit_ratelimit.redis_limiter import RedisLimiter
from scalekit_redis import Redis
from tests.ratelimit.client import host
from tests.ratelimit.integration.test_store_faults import breaker_of, until
from tests.servers import Redis as Server

pytestmark = pytest.mark.anyio


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def circuit_breaker(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker(RedisLimiter(cast(Redis, None), False), 0.5, 0.02, clock)


async def test_a_persistent_error_is_reported(circuit_breaker: CircuitBreaker, clock: Clock) -> None:
    circuit_breaker.trip("timed out")
    clock.now += UNHEALTHY_AFTER / 2
    assert (circuit_breaker.error, circuit_breaker.persistent_error) == ("timed out", "")
    clock.now += UNHEALTHY_AFTER / 2
    assert circuit_breaker.persistent_error == "timed out"
    circuit_breaker.close()
    clock.now += RECOVERED_AFTER
    assert circuit_breaker.persistent_error == ""


async def test_an_occasional_timeout_is_not_reported(circuit_breaker: CircuitBreaker, clock: Clock) -> None:
    for _ in range(100):
        circuit_breaker.trip("timed out")
        clock.now += 0.5
        assert circuit_breaker.persistent_error == ""
        circuit_breaker.close()
        assert circuit_breaker.persistent_error == ""
        clock.now += RECOVERED_AFTER


async def test_repeated_errors_are_one_outage(circuit_breaker: CircuitBreaker, clock: Clock) -> None:
    reported = []
    for _ in range(20):
        circuit_breaker.trip("timed out")
        clock.now += 0.5
        reported.append(circuit_breaker.persistent_error)
        circuit_breaker.close()
        clock.now += 0.1
        reported.append(circuit_breaker.persistent_error)
    assert reported[:6] == [""] * 6
    assert set(reported[8:]) == {"timed out"}
    clock.now += RECOVERED_AFTER
    assert circuit_breaker.persistent_error == ""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.mark.needs("redis")
async def test_a_reply_later_than_redis_timeout_leaves_the_instance_ready(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With retry_interval = 1h the circuit stays open, so the health check does not depend on timing."""
    table = {
        "url": server.url,
        "default": "1000/1d",
        "on_error": "refuse",
        "store_timeout": "20ms",
        "retry_interval": "1h",
    }
    app = host(table)
    async with running(app) as state:
        await asyncio.to_thread(server.pause)
        assert (await request(app, "/", state=state)).status == 503

        async def is_open() -> bool:
            return bool(breaker_of(app).error)

        await until(is_open)
        await asyncio.to_thread(server.resume)
        monkeypatch.setattr(module, "UNHEALTHY_AFTER", 3600.0)

        async def ready() -> bool:
            await app.monitor.check_once()
            return not app.monitor.failing(critical=True)

        await until(ready)
        assert (await request(app, "/", state=state)).status == 503
        monkeypatch.setattr(module, "UNHEALTHY_AFTER", 0.0)
        assert not await ready()
        assert "no reply within" in app.monitor.results["ratelimit"].last_error
