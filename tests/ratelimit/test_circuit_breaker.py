"""Health tells of trouble that lasts, and not of a moment."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import cast

import pytest

from scalekit.testing import request, running
from scalekit_ratelimit import circuit_breaker as breaker
from scalekit_ratelimit.circuit_breaker import CALM, PATIENCE, CircuitBreaker
from scalekit_redis import Redis
from tests.ratelimit.client import host
from tests.ratelimit.test_redis_faults import breaker_of, until
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
def tripping(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker(cast(Redis, None), 0.5, 0.02, clock)


async def test_trouble_that_lasts_is_told(tripping: CircuitBreaker, clock: Clock) -> None:
    tripping.trip("late")
    clock.now += PATIENCE / 2
    assert (tripping.trouble, tripping.lasting_trouble) == ("late", "")
    clock.now += PATIENCE / 2
    assert tripping.lasting_trouble == "late"
    tripping.close()
    clock.now += CALM
    assert tripping.lasting_trouble == ""


async def test_one_late_answer_now_and_then_is_not_told(tripping: CircuitBreaker, clock: Clock) -> None:
    for _ in range(100):
        tripping.trip("late")
        clock.now += 0.5
        assert tripping.lasting_trouble == ""
        tripping.close()
        assert tripping.lasting_trouble == ""
        clock.now += CALM


async def test_trouble_again_and_again_is_told_without_a_break(tripping: CircuitBreaker, clock: Clock) -> None:
    told = []
    for _ in range(20):
        tripping.trip("late")
        clock.now += 0.5
        told.append(tripping.lasting_trouble)
        tripping.close()
        clock.now += 0.1
        told.append(tripping.lasting_trouble)
    assert told[:6] == [""] * 6
    assert set(told[8:]) == {"late"}
    clock.now += CALM
    assert tripping.lasting_trouble == ""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.mark.needs("redis")
async def test_an_answer_later_than_the_deadline_of_requests_leaves_the_instance_ready(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With retry = 1h requests are kept away from then on, so what health says does not depend on when it is asked."""
    table = {"url": server.url, "default": "1000/1d", "on_error": "refuse", "deadline": "20ms", "retry": "1h"}
    app = host(table)
    async with running(app) as state:
        await asyncio.to_thread(server.pause)
        assert (await request(app, "/", state=state)).status == 503

        async def kept_away() -> bool:
            return bool(breaker_of(app).trouble)

        await until(kept_away)
        await asyncio.to_thread(server.resume)
        monkeypatch.setattr(breaker, "PATIENCE", 3600.0)

        async def ready() -> bool:
            await app.monitor.check_once()
            return not app.monitor.failing(critical=True)

        await until(ready)
        assert (await request(app, "/", state=state)).status == 503
        monkeypatch.setattr(breaker, "PATIENCE", 0.0)
        assert not await ready()
        assert "no reply in time" in app.monitor.results["ratelimit"].last_error
