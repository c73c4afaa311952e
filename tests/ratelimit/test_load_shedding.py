"""Adaptive concurrency and load shedding."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from scalekit.testing import request, running
from scalekit_ratelimit.load_shedding import (
    PROBE_AFTER,
    WINDOW,
    AdaptiveConcurrency,
    AimdAlgorithm,
    GradientAlgorithm,
)
from tests.ratelimit.client import host, policy

CAPACITY = 10


def settle(concurrency: AdaptiveConcurrency, capacity: int, rounds: int = 400) -> None:
    """Offer more requests than the limit allows; latency grows with those above *capacity*."""
    for _ in range(rounds):
        entered = 0
        while concurrency.acquire("high"):
            entered += 1
        latency = 0.01 * max(1.0, entered / capacity)
        for _ in range(entered):
            concurrency.release(latency)


@pytest.mark.parametrize("algorithm", [GradientAlgorithm(1.5, 4), AimdAlgorithm(0.02)], ids=["gradient", "aimd"])
@pytest.mark.parametrize("initial", [4, 500])
def test_gradient_settles_below_twice_the_latency_without_load(
    algorithm: GradientAlgorithm | AimdAlgorithm, initial: int
) -> None:
    concurrency = AdaptiveConcurrency(algorithm, 10, 4, 1000)
    settle(concurrency, CAPACITY, 5)
    concurrency._limit = float(initial)
    settle(concurrency, CAPACITY)
    assert CAPACITY * 0.9 <= concurrency.limit <= CAPACITY * 2.6


@pytest.mark.parametrize("initial", [15, 100])
def test_gradient_probes_the_latency_without_load_of_a_service_that_is_always_under_load(initial: int) -> None:
    concurrency = AdaptiveConcurrency(GradientAlgorithm(1.5, 4), initial, 4, 1000)
    settle(concurrency, CAPACITY)
    assert CAPACITY * 0.9 <= concurrency.limit <= CAPACITY * 1.7


def test_gradient_probes_again_when_a_loaded_service_becomes_slower() -> None:
    algorithm = GradientAlgorithm(1.5, 4)
    for _ in range(3):
        algorithm.next_limit(20.0, 0.1, 4)
    limit, probes = 20.0, 0
    for _ in range((PROBE_AFTER + 2) * 3):
        before, limit = limit, algorithm.next_limit(limit, 0.12, int(limit))
        probes += limit == 4 < before
    assert probes == 3
    assert limit > 20, "the limit before the probe is restored"


def test_the_limit_recovers_after_a_permanent_increase_of_latency() -> None:
    concurrency = AdaptiveConcurrency(GradientAlgorithm(1.5, 4), 10, 4, 1000)
    settle(concurrency, CAPACITY, 20)
    for _ in range(WINDOW * 400):
        while concurrency.acquire("high"):
            pass
        for _ in range(concurrency.in_flight):
            concurrency.release(0.1 * max(1.0, concurrency.limit / CAPACITY))
    assert concurrency.limit >= CAPACITY * 0.9


@given(st.lists(st.floats(0, 10), max_size=300))
def test_the_limit_stays_between_min_limit_and_max_limit(latencies: list[float]) -> None:
    concurrency = AdaptiveConcurrency(GradientAlgorithm(1.5, 4), 20, 4, 50)
    for latency in latencies:
        assert concurrency.acquire("high")
        concurrency.release(latency)
        assert 4 <= concurrency.limit <= 50
    assert concurrency.in_flight == 0


def test_requests_that_do_not_use_the_limit_do_not_raise_it() -> None:
    concurrency = AdaptiveConcurrency(GradientAlgorithm(1.5, 4), 20, 4, 50)
    for _ in range(WINDOW * 50):
        concurrency.acquire("high")
        concurrency.release(0.01)
    assert concurrency.limit == 20


def test_a_higher_priority_may_use_more_of_the_limit() -> None:
    concurrency = AdaptiveConcurrency(GradientAlgorithm(1.5, 4), 10, 4, 10)
    entered = dict.fromkeys(("low", "normal", "high"), 0)
    for priority in entered:
        while concurrency.acquire(priority):
            entered[priority] += 1
    assert entered == {"low": 7, "normal": 2, "high": 1}


@pytest.mark.anyio
async def test_excess_requests_are_shed_at_once_with_503_and_retry_after() -> None:
    go = asyncio.Event()

    async def waiting(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await go.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

    policies = [policy("urgent", "100/s", path="/urgent", priority="high")]
    limits = {"initial_limit": 10, "retry_after": "3s"}
    app = host({"policies": policies, "concurrency": limits}, waiting)
    async with running(app) as state:
        inside = [asyncio.ensure_future(request(app, "/", state=state)) for _ in range(9)]
        await asyncio.sleep(0)
        refused = await request(app, "/", state=state)
        urgent = asyncio.ensure_future(request(app, "/urgent", state=state))
        await asyncio.sleep(0)
        over = await request(app, "/urgent", state=state)
        go.set()
        assert {response.status for response in await asyncio.gather(*inside, urgent)} == {200}
        assert (await request(app, "/", state=state)).status == 200
    assert (refused.status, over.status) == (503, 503)
    assert refused.header("retry-after") == "3"
    assert json.loads(refused.body)["detail"] == "too many requests in flight"
