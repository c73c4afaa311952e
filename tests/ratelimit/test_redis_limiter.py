"""Limits in Redis are exact across processes and equal to those in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from time import monotonic_ns

import pytest

from scalekit import Rate
from scalekit.telemetry import NullTelemetry
from scalekit.testing import request, running
from scalekit_ratelimit.keys import address_key
from scalekit_ratelimit.limit_checks import SingleLimit
from scalekit_ratelimit.limits import Algorithm, Hit, make_limit
from scalekit_ratelimit.memory_limiter import MemoryLimiter
from scalekit_ratelimit.redis_limiter import RedisLimiter, redis_key_of
from scalekit_redis import Connections, Redis
from tests.ratelimit.client import host, limit_items, policy
from tests.ratelimit.concurrent_clients import allowed, states_of
from tests.servers import Redis as Server
from tests.servers import RedisCluster

pytestmark = [pytest.mark.anyio, pytest.mark.needs("redis")]


@pytest.fixture(scope="module", name="server")
def a_server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture(scope="module", name="cluster")
def a_cluster() -> Iterator[RedisCluster]:
    with RedisCluster() as cluster:
        yield cluster


@pytest.fixture
def url(server: Server) -> str:
    server.cli("FLUSHALL")
    return server.url


def cluster_url(cluster: RedisCluster) -> str:
    return "redis-cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in cluster.nodes)


def scripts(server: Server) -> int:
    """Return the number of scripts that the server has executed."""
    lines = server.cli("INFO", "commandstats").splitlines()
    runs = (line.partition("calls=")[2].partition(",")[0] for line in lines if line.startswith("cmdstat_eval"))
    return sum(map(int, runs))


@pytest.mark.parametrize("algorithm", ["gcra", "sliding-window"])
def test_eight_processes_get_exactly_the_limit(url: str, algorithm: str) -> None:
    assert allowed(8, url, algorithm, "100/1d", 200) == 100


def test_eight_processes_get_exactly_the_limit_of_a_cluster(cluster: RedisCluster) -> None:
    assert allowed(8, cluster_url(cluster), "gcra", "100/1d", 100) == 100


async def open_limiters(redis: Redis) -> tuple[RedisLimiter, MemoryLimiter]:
    return RedisLimiter(redis, False), MemoryLimiter(100, monotonic_ns)


@pytest.mark.parametrize("algorithm", ["gcra", "sliding-window"])
async def test_redis_and_memory_return_the_same_states(url: str, algorithm: Algorithm) -> None:
    # With a window of a day, the duration of the test does not change the integers that are compared.
    limits = [make_limit("a", Rate("10/1d"), None, algorithm), make_limit("b", Rate("7/1d"), None, algorithm)]
    async with Connections(NullTelemetry()).open(url, timeout=10.0) as redis:
        shared, memory = await open_limiters(redis)
        for cost, dry in [(1, False), (3, True), (2, False), (4, False), (3, True), (1, True), (2, False), (3, False)]:
            hits = [Hit(limits[0], "x", cost, False), Hit(limits[1], "x", 2, dry)]
            there = await states_of(shared, hits)
            here = dict(zip(hits, memory.hit(hits), strict=True))
            for hit in hits:
                assert there[hit][:2] == here[hit][:2], (hit, there, here)
                day = 86_400_000_000
                assert there[hit].reset == pytest.approx(here[hit].reset, abs=day / 1000)
                assert there[hit].retry_after == pytest.approx(here[hit].retry_after, abs=day / 1000)


async def test_a_single_limit_shares_its_counter_with_combined_checks(url: str) -> None:
    limit = make_limit("a", Rate("10/1d"))
    async with Connections(NullTelemetry()).open(url, timeout=10.0) as redis:
        shared, memory = await open_limiters(redis)
        single = SingleLimit(limit, 2, address_key)
        await shared.send_gcra(single, "x")
        memory.hit_gcra(limit, "x", single.increment)
        for turn in range(8):
            if turn % 2:
                there, here = await shared.send_gcra(single, "x"), memory.hit_gcra(limit, "x", single.increment)
                assert there == pytest.approx(here, abs=86_400_000)
                assert (there // limit.emission_interval, there >= 0) == (here // limit.emission_interval, here >= 0)
            else:
                hit = Hit(limit, "x", 1, False)
                states = await states_of(shared, [hit])
                assert states[hit][:2] == memory.hit([hit])[0][:2]


@pytest.mark.parametrize("requests", [5, 60])
async def test_concurrent_hits_are_counted_one_after_the_other(url: str, requests: int) -> None:
    rates = [("a", 40, 1), ("a", 40, 3), ("b", 7, 1)]
    limits = [SingleLimit(make_limit(name, Rate(f"{number}/1d")), cost, address_key) for name, number, cost in rates]
    async with Connections(NullTelemetry()).open(url, timeout=10.0) as redis:
        shared, memory = await open_limiters(redis)
        requested = [(limits[turn % 3], f"client {turn % 4}") for turn in range(requests)]
        slacks = await asyncio.gather(*[shared.send_gcra(limit, key) for limit, key in requested])
        for (limit, key), there in zip(requested, slacks, strict=True):
            here = memory.hit_gcra(limit.limit, key, limit.increment)
            assert there == pytest.approx(here, abs=86_400_000)
            interval = limit.limit.emission_interval
            assert (there // interval, there >= 0) == (here // interval, here >= 0)


async def test_a_sliding_window_in_redis_expires_old_requests(url: str) -> None:
    limit = make_limit("short", Rate("2/50ms"), None, "sliding-window")
    async with Connections(NullTelemetry()).open(url, timeout=10.0) as redis:
        limits = RedisLimiter(redis, False)
        hits = [Hit(limit, "x", 1, False)]
        allowed = 0
        while allowed < 6:  # never, when old requests do not expire
            state = (await states_of(limits, hits))[hits[0]]
            allowed += state.allowed
            await asyncio.sleep(state.retry_after / 1e6)


async def test_redis_keys_expire_and_contain_no_secret(url: str, server: Server) -> None:
    app = host({"url": url, "policies": [policy("keys", "5/1h", key="header:X-API-Key")]})
    async with running(app) as state:
        await request(app, "/", state=state, headers={"x-api-key": "open sesame"})
    (key,) = server.cli("KEYS", "*").splitlines()
    assert "sesame" not in key
    assert 0 < int(server.cli("PTTL", key)) <= 720_000, "the key expires when the full quota is available"


async def test_all_policies_of_a_request_are_one_round_trip_and_shared_by_instances(url: str, server: Server) -> None:
    policies = [policy("a", ["10/h", "20/d"]), policy("b", "5/h"), policy("c", "3/h", algorithm="sliding-window")]
    table = {"url": url, "policies": policies}
    first, second = host(table), host(table)
    async with running(first) as one, running(second) as two:
        await request(first, "/", state=one)
        before = scripts(server)
        response = await request(second, "/", state=two)
        assert scripts(server) == before + 1
        assert {name: each["r"] for name, each in limit_items(response).items()} == {
            "a 10/1h": 8, "a 20/1d": 18, "b": 3, "c": 1,
        }  # fmt: skip
        requested = [(await request(app, "/", state=state)).status for app, state in [(first, one), (second, two)]]
        assert requested == [200, 429]


async def test_the_script_is_loaded_again_after_script_flush(url: str, server: Server) -> None:
    app = host({"url": url, "default": "5/h", "on_error": "refuse", "redis_timeout": "10s"})
    async with running(app) as state:
        assert (await request(app, "/", state=state)).status == 200
        server.cli("SCRIPT", "FLUSH")
        assert limit_items(await request(app, "/", state=state))["default"]["r"] == 3


async def test_in_a_cluster_limits_of_the_same_key_share_a_slot(
    cluster: RedisCluster,
) -> None:
    policies = [policy("a", "9/h"), policy("b", "8/h"), policy("c", "2/h", key="header:X-Key", path="/c")]
    table = {"url": cluster_url(cluster), "policies": policies, "on_error": "refuse", "redis_timeout": "10s"}
    app = host(table)
    async with running(app) as state:
        first = await request(app, "/", state=state)
        assert {name: each["r"] for name, each in limit_items(first).items()} == {"a": 8, "b": 7}
        requested = [await request(app, "/c", state=state, headers={"x-key": "k"}) for _ in range(3)]
    assert [response.status for response in requested] == [200, 200, 429]
    keys = [redis_key_of(Hit(make_limit(name, Rate("9/h")), "127.0.0.1", 1, False)) for name in "ab"]
    assert len({cluster.nodes[0].cli("CLUSTER", "KEYSLOT", key) for key in keys}) == 1
