"""Limits in every shared store are exact across processes and equal to those in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from time import monotonic_ns, time_ns

import pytest

from scalekit import Rate
from scalekit.testing import request, running
from scalekit_ratelimit.keys import address_key
from scalekit_ratelimit.limit_checks import SingleLimit
from scalekit_ratelimit.limits import Algorithm, Hit, make_limit
from scalekit_ratelimit.memory_limiter import MemoryLimiter
from tests.ratelimit.client import limit_items, policy
from tests.ratelimit.concurrent_clients import allowed
from tests.ratelimit.shared_limiters import limited_host, open_shared, slack_of, states_of
from tests.servers import Postgres, Redis

pytestmark = pytest.mark.anyio

DAY = 86_400_000_000
STORES = [pytest.param(each, marks=pytest.mark.needs(each)) for each in ("redis", "postgres")]


@pytest.fixture(scope="module", params=STORES)
def server(request: pytest.FixtureRequest) -> Iterator[Redis | Postgres]:
    with Redis() if request.param == "redis" else Postgres() as server:
        yield server


@pytest.fixture
def url(server: Redis | Postgres) -> str:
    if isinstance(server, Redis):
        server.cli("FLUSHALL")
    else:
        server.sql("DROP TABLE IF EXISTS scalekit_ratelimit")
    return server.url


@pytest.mark.parametrize("algorithm", ["gcra", "sliding-window"])
def test_eight_processes_get_exactly_the_limit(url: str, algorithm: str) -> None:
    assert allowed(8, url, algorithm, "100/1d", 200) == 100


@pytest.mark.parametrize("algorithm", ["gcra", "sliding-window"])
async def test_the_store_and_memory_return_the_same_states(url: str, algorithm: Algorithm) -> None:
    # With a window of a day, the duration of the test does not change the integers that are compared.
    limits = [make_limit("a", Rate("10/1d"), None, algorithm), make_limit("b", Rate("7/1d"), None, algorithm)]
    memory = MemoryLimiter(100, monotonic_ns)
    async with open_shared(url) as shared:
        for cost, dry in [(1, False), (3, True), (2, False), (4, False), (3, True), (1, True), (2, False), (3, False)]:
            hits = [Hit(limits[0], "x", cost, False), Hit(limits[1], "x", 2, dry)]
            there = await states_of(shared, hits)
            here = dict(zip(hits, memory.hit(hits), strict=True))
            for hit in hits:
                assert there[hit][:2] == here[hit][:2], (hit, there, here)
                assert there[hit].reset == pytest.approx(here[hit].reset, abs=DAY / 1000)
                assert there[hit].retry_after == pytest.approx(here[hit].retry_after, abs=DAY / 1000)


@pytest.mark.parametrize("algorithm", ["gcra", "sliding-window"])
async def test_a_clock_that_goes_back_refuses_for_no_longer_than_the_limit(
    server: Redis | Postgres, url: str, algorithm: Algorithm
) -> None:
    limit = make_limit("a", Rate("2/1h"), None, algorithm)
    hits = [Hit(limit, "x", 1, False)]
    async with open_shared(url) as shared:
        await states_of(shared, hits)
        store_a_day_ahead(server, algorithm)
        (state,) = (await states_of(shared, hits)).values()
        if algorithm == "gcra":
            store_a_day_ahead(server, algorithm)
            single = await slack_of(shared, SingleLimit(limit, 1, address_key), "x")
            assert -single == pytest.approx(state.retry_after, abs=DAY / 1000)
            assert 0 < state.retry_after <= limit.tolerance
        else:
            assert (state.allowed, state.remaining) == (True, 1)


def store_a_day_ahead(server: Redis | Postgres, algorithm: Algorithm) -> None:
    """Let the counter of the limit ``a`` look as if the clock had been a day ahead."""
    ahead = time_ns() // 1000 + DAY
    if isinstance(server, Postgres):
        server.sql(f"UPDATE scalekit_ratelimit SET expires = {ahead}, times = ARRAY[{ahead}]")
    elif algorithm == "gcra":
        server.cli("SET", "scalekit:ratelimit:{x}:a:g", str(ahead))
    else:
        server.cli("LSET", "scalekit:ratelimit:{x}:a:s", "0", str(ahead))


async def test_a_single_limit_shares_its_counter_with_combined_checks(url: str) -> None:
    limit, memory = make_limit("a", Rate("10/1d")), MemoryLimiter(100, monotonic_ns)
    single = SingleLimit(limit, 2, address_key)
    async with open_shared(url) as shared:
        await slack_of(shared, single, "x")
        memory.hit_gcra(limit, "x", single.increment)
        for turn in range(8):
            if turn % 2:
                there, here = await slack_of(shared, single, "x"), memory.hit_gcra(limit, "x", single.increment)
                assert there == pytest.approx(here, abs=DAY / 1000)
                assert (there // limit.emission_interval, there >= 0) == (here // limit.emission_interval, here >= 0)
            else:
                hit = Hit(limit, "x", 1, False)
                states = await states_of(shared, [hit])
                assert states[hit][:2] == memory.hit([hit])[0][:2]


@pytest.mark.parametrize("requests", [5, 60, 600])
async def test_concurrent_hits_are_counted_one_after_the_other(url: str, requests: int) -> None:
    rates = [("a", 40, 1), ("a", 40, 3), ("b", 7, 1)]
    limits = [SingleLimit(make_limit(name, Rate(f"{number}/1d")), cost, address_key) for name, number, cost in rates]
    memory = MemoryLimiter(100, monotonic_ns)
    requested = [(limits[turn % 3], f"client {turn % 4}") for turn in range(requests)]
    async with open_shared(url) as shared:
        slacks = await asyncio.gather(*[slack_of(shared, limit, key) for limit, key in requested])
    for (limit, key), there in zip(requested, slacks, strict=True):
        here = memory.hit_gcra(limit.limit, key, limit.increment)
        assert there == pytest.approx(here, abs=DAY / 1000)
        interval = limit.limit.emission_interval
        assert (there // interval, there >= 0) == (here // interval, here >= 0)


async def test_a_sliding_window_expires_old_requests(url: str) -> None:
    limit = make_limit("short", Rate("2/50ms"), None, "sliding-window")
    async with open_shared(url) as shared:
        hits = [Hit(limit, "x", 1, False)]
        allowed = 0
        while allowed < 6:  # never, when old requests do not expire
            state = (await states_of(shared, hits))[hits[0]]
            allowed += state.allowed
            await asyncio.sleep(state.retry_after / 1e6)


async def test_a_limit_is_replenished(url: str) -> None:
    limit = make_limit("short", Rate("2/50ms"))
    async with open_shared(url) as shared:
        hits = [Hit(limit, "x", 1, False)]
        allowed = 0
        while allowed < 6:
            state = (await states_of(shared, hits))[hits[0]]
            allowed += state.allowed
            await asyncio.sleep(state.retry_after / 1e6)


async def test_a_reset_deletes_the_counters_of_a_client_only(url: str) -> None:
    limits = [make_limit("a", Rate("2/1d")), make_limit("b", Rate("3/1d"), None, "sliding-window")]
    async with open_shared(url) as shared:
        hits = {key: [Hit(limit, key, 2, False) for limit in limits] for key in ("ada", "bob")}
        for each in hits.values():
            await states_of(shared, each)
        await shared.reset(hits["ada"])
        states = {key: await states_of(shared, each) for key, each in hits.items()}
    assert [state.remaining for state in states["ada"].values()] == [0, 1]
    assert [state.allowed for state in states["bob"].values()] == [False, False]


async def test_limits_are_shared_by_instances(url: str) -> None:
    policies = [policy("a", ["10/h", "20/d"]), policy("b", "5/h"), policy("c", "3/h", algorithm="sliding-window")]
    first, second = limited_host(url, {"policies": policies}), limited_host(url, {"policies": policies})
    async with running(first) as one, running(second) as two:
        await request(first, "/", state=one)
        response = await request(second, "/", state=two)
        assert {name: each["r"] for name, each in limit_items(response).items()} == {
            "a 10/1h": 8, "a 20/1d": 18, "b": 3, "c": 1,
        }  # fmt: skip
        requested = [(await request(app, "/", state=state)).status for app, state in [(first, one), (second, two)]]
        assert requested == [200, 429]
