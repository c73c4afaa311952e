from __future__ import annotations

import asyncio
from collections.abc import Iterator
from time import monotonic_ns

import pytest

from scalekit import Rate
from scalekit.telemetry import NullTelemetry
from scalekit.testing import request, running
from scalekit_ratelimit.gcra import Algorithm, rule
from scalekit_ratelimit.keys import address_key
from scalekit_ratelimit.memory_limiter import Hit, MemoryLimiter
from scalekit_ratelimit.redis_limiter import RedisLimiter, key_of
from scalekit_ratelimit.single_limit import SingleLimit
from scalekit_redis import Connections, Redis
from tests.ratelimit.client import host, policy, standing
from tests.ratelimit.concurrent_clients import allowed, counts_of
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
    """Return how many scripts have been run."""
    lines = server.cli("INFO", "commandstats").splitlines()
    runs = (line.partition("calls=")[2].partition(",")[0] for line in lines if line.startswith("cmdstat_eval"))
    return sum(map(int, runs))


@pytest.mark.parametrize("algorithm", ["gcra", "sliding-window"])
def test_eight_processes_get_exactly_the_limit(url: str, algorithm: str) -> None:
    assert allowed(8, url, algorithm, "100/1d", 200) == 100


def test_eight_processes_get_exactly_the_limit_of_a_cluster(cluster: RedisCluster) -> None:
    assert allowed(8, cluster_url(cluster), "gcra", "100/1d", 100) == 100


async def open_limits(redis: Redis) -> tuple[RedisLimiter, MemoryLimiter]:
    return RedisLimiter(redis, False), MemoryLimiter(100, monotonic_ns)


@pytest.mark.parametrize("algorithm", ["gcra", "sliding-window"])
async def test_redis_counts_as_memory_does(url: str, algorithm: Algorithm) -> None:
    # Over a day, the moments that pass in the test change none of the whole numbers that are compared.
    rules = [rule("a", Rate("10/1d"), None, algorithm), rule("b", Rate("7/1d"), None, algorithm)]
    async with Connections(NullTelemetry()).open(url, timeout=10.0) as redis:
        shared, memory = await open_limits(redis)
        for cost, dry in [(1, False), (3, True), (2, False), (4, False), (3, True), (1, True), (2, False), (3, False)]:
            takes = [Hit(rules[0], "x", cost, False), Hit(rules[1], "x", 2, dry)]
            there = await counts_of(shared, takes)
            here = dict(zip(takes, memory.take(takes), strict=True))
            for take in takes:
                assert there[take][:2] == here[take][:2], (take, there, here)
                day = 86_400_000_000
                assert there[take].reset == pytest.approx(here[take].reset, abs=day / 1000)
                assert there[take].retry == pytest.approx(here[take].retry, abs=day / 1000)


async def test_one_limit_alone_is_counted_with_the_others(url: str) -> None:
    this = rule("a", Rate("10/1d"))
    async with Connections(NullTelemetry()).open(url, timeout=10.0) as redis:
        shared, memory = await open_limits(redis)
        single = SingleLimit(this, 2, address_key)
        await shared.send_one(single, "x")
        memory.take_one(this, "x", single.taken)
        for turn in range(8):
            if turn % 2:
                there, here = await shared.send_one(single, "x"), memory.take_one(this, "x", single.taken)
                assert there == pytest.approx(here, abs=86_400_000)
                assert (there // this.interval, there >= 0) == (here // this.interval, here >= 0)
            else:
                take = Hit(this, "x", 1, False)
                counts = await counts_of(shared, [take])
                assert counts[take][:2] == memory.take([take])[0][:2]


@pytest.mark.parametrize("requests", [5, 60])
async def test_requests_of_one_moment_are_counted_one_after_the_other(url: str, requests: int) -> None:
    rates = [("a", 40, 1), ("a", 40, 3), ("b", 7, 1)]
    limits = [SingleLimit(rule(name, Rate(f"{number}/1d")), cost, address_key) for name, number, cost in rates]
    async with Connections(NullTelemetry()).open(url, timeout=10.0) as redis:
        shared, memory = await open_limits(redis)
        asked = [(limits[turn % 3], f"client {turn % 4}") for turn in range(requests)]
        rooms = await asyncio.gather(*[shared.send_one(limit, who) for limit, who in asked])
        for (limit, who), there in zip(asked, rooms, strict=True):
            here = memory.take_one(limit.rule, who, limit.taken)
            assert there == pytest.approx(here, abs=86_400_000)
            assert (there // limit.rule.interval, there >= 0) == (here // limit.rule.interval, here >= 0)


async def test_a_window_of_redis_gives_back_what_is_older_than_it(url: str) -> None:
    this = rule("short", Rate("2/50ms"), None, "sliding-window")
    async with Connections(NullTelemetry()).open(url, timeout=10.0) as redis:
        limits = RedisLimiter(redis, False)
        take = [Hit(this, "x", 1, False)]
        allowed = 0
        while allowed < 6:  # which is never, where nothing is given back
            count = (await counts_of(limits, take))[take[0]]
            allowed += count.allowed
            await asyncio.sleep(count.retry / 1e6)


async def test_keys_end_by_themselves_and_hold_no_secret(url: str, server: Server) -> None:
    app = host({"url": url, "policies": [policy("keys", "5/1h", by="header:X-API-Key")]})
    async with running(app) as state:
        await request(app, "/", state=state, headers={"x-api-key": "open sesame"})
    (key,) = server.cli("KEYS", "*").splitlines()
    assert "sesame" not in key
    assert 0 < int(server.cli("PTTL", key)) <= 720_000, "a fifth of an hour is what was taken"


async def test_all_policies_of_a_request_are_one_trip_and_instances_share_them(url: str, server: Server) -> None:
    policies = [policy("a", ["10/h", "20/d"]), policy("b", "5/h"), policy("c", "3/h", algorithm="sliding-window")]
    table = {"url": url, "policies": policies}
    first, second = host(table), host(table)
    async with running(first) as one, running(second) as two:
        await request(first, "/", state=one)
        before = scripts(server)
        answer = await request(second, "/", state=two)
        assert scripts(server) == before + 1
        assert {name: each["r"] for name, each in standing(answer).items()} == {
            "a 10/1h": 8, "a 20/1d": 18, "b": 3, "c": 1,
        }  # fmt: skip
        asked = [(await request(app, "/", state=state)).status for app, state in [(first, one), (second, two)]]
        assert asked == [200, 429]


async def test_a_server_that_forgot_the_script_is_told_it_again(url: str, server: Server) -> None:
    app = host({"url": url, "default": "5/h", "on_error": "refuse", "deadline": "10s"})
    async with running(app) as state:
        assert (await request(app, "/", state=state)).status == 200
        server.cli("SCRIPT", "FLUSH")
        assert standing(await request(app, "/", state=state))["default"]["r"] == 3


async def test_a_cluster_counts_what_is_counted_alike_in_one_slot_and_the_rest_beside_it(
    cluster: RedisCluster,
) -> None:
    policies = [policy("a", "9/h"), policy("b", "8/h"), policy("c", "2/h", by="header:X-Key", path="/c")]
    table = {"url": cluster_url(cluster), "policies": policies, "on_error": "refuse", "deadline": "10s"}
    app = host(table)
    async with running(app) as state:
        first = await request(app, "/", state=state)
        assert {name: each["r"] for name, each in standing(first).items()} == {"a": 8, "b": 7}
        asked = [await request(app, "/c", state=state, headers={"x-key": "k"}) for _ in range(3)]
    assert [answer.status for answer in asked] == [200, 200, 429]
    keys = [key_of(Hit(rule(name, Rate("9/h")), "127.0.0.1", 1, False)) for name in "ab"]
    assert len({cluster.nodes[0].cli("CLUSTER", "KEYSLOT", key) for key in keys}) == 1
