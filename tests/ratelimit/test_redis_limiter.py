"""Limits in Redis: scripts, keys and hash slots."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scalekit import Rate
from scalekit.testing import request, running
from scalekit_ratelimit.limits import Hit, make_limit
from scalekit_ratelimit.redis_limiter import redis_key_of
from tests.ratelimit.client import host, limit_items, policy
from tests.ratelimit.concurrent_clients import allowed
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


def test_eight_processes_get_exactly_the_limit_of_a_cluster(cluster: RedisCluster) -> None:
    assert allowed(8, cluster_url(cluster), "gcra", "100/1d", 100) == 100


async def test_redis_keys_expire_and_contain_no_secret(url: str, server: Server) -> None:
    app = host({"url": url, "policies": [policy("keys", "5/1h", key="header:X-API-Key")]})
    async with running(app) as state:
        await request(app, "/", state=state, headers={"x-api-key": "open sesame"})
    (key,) = server.cli("KEYS", "*").splitlines()
    assert "sesame" not in key
    assert 0 < int(server.cli("PTTL", key)) <= 720_000, "the key expires when the full quota is available"


async def test_all_policies_of_a_request_are_one_round_trip(url: str, server: Server) -> None:
    policies = [policy("a", ["10/h", "20/d"]), policy("b", "5/h"), policy("c", "3/h", algorithm="sliding-window")]
    app = host({"url": url, "policies": policies})
    async with running(app) as state:
        await request(app, "/", state=state)
        before = scripts(server)
        await request(app, "/", state=state)
        assert scripts(server) == before + 1


async def test_the_script_is_loaded_again_after_script_flush(url: str, server: Server) -> None:
    app = host({"url": url, "default": "5/h", "on_error": "refuse", "store_timeout": "10s"})
    async with running(app) as state:
        assert (await request(app, "/", state=state)).status == 200
        server.cli("SCRIPT", "FLUSH")
        assert limit_items(await request(app, "/", state=state))["default"]["r"] == 3


async def test_in_a_cluster_limits_of_the_same_key_share_a_slot(
    cluster: RedisCluster,
) -> None:
    policies = [policy("a", "9/h"), policy("b", "8/h"), policy("c", "2/h", key="header:X-Key", path="/c")]
    table = {"url": cluster_url(cluster), "policies": policies, "on_error": "refuse", "store_timeout": "10s"}
    app = host(table)
    async with running(app) as state:
        first = await request(app, "/", state=state)
        assert {name: each["r"] for name, each in limit_items(first).items()} == {"a": 8, "b": 7}
        requested = [await request(app, "/c", state=state, headers={"x-key": "k"}) for _ in range(3)]
    assert [response.status for response in requested] == [200, 200, 429]
    keys = [redis_key_of(Hit(make_limit(name, Rate("9/h")), "127.0.0.1", 1, False)) for name in "ab"]
    assert len({cluster.nodes[0].cli("CLUSTER", "KEYSLOT", key) for key in keys}) == 1
