"""Values behave the same in memory and on a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any
from uuid import uuid4

import pytest

from scalekit.contracts import Cache
from tests.cluster_cache.conftest import connect_node, is_master, process
from tests.lib.redis.poll import until
from tests.servers import RedisCluster

pytestmark = pytest.mark.anyio


@pytest.fixture(
    params=[
        pytest.param({}, id="memory"),
        pytest.param({"read_from": "primary"}, marks=pytest.mark.needs("redis"), id="cluster"),
        pytest.param({"read_from": "replica"}, marks=pytest.mark.needs("redis"), id="replicas"),
    ],
    name="cache",
)
async def a_cache(request: pytest.FixtureRequest, anyio_backend: str) -> AsyncGenerator[Cache, None]:
    options: dict[str, Any] = request.param
    cluster = request.getfixturevalue("suite_cluster") if options else None
    async with process(cluster, prefix=f"suite:{uuid4().hex}", **options) as one:
        yield one.cache


async def wait_value(cache: Cache, key: str, value: Any) -> None:
    """Wait until the result is *value*: a replica may lag."""
    while await cache.get(key) != value:
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("value", [b"\x00\xff", "text", 7, None, [1, {"a": 2.5}], {}])
async def test_a_value_is_returned_unchanged(cache: Cache, value: Any) -> None:
    await cache.set("key", value)
    async with asyncio.timeout(60):
        while await cache.get("key", "nothing") != value:
            await asyncio.sleep(0.005)


async def test_a_missing_value_is_the_default(cache: Cache) -> None:
    assert await cache.get("key") is None
    assert await cache.get("key", 7) == 7


async def test_delete_removes_only_the_named_keys(cache: Cache) -> None:
    await cache.set_many({"a": 1, "b": 2})
    await cache.delete("a")
    async with asyncio.timeout(60):
        await wait_value(cache, "a", None)
        await wait_value(cache, "b", 2)


async def test_a_value_expires_with_its_ttl(cache: Cache) -> None:
    await cache.set("key", 1, "200ms")
    async with asyncio.timeout(60):
        await wait_value(cache, "key", None)


async def test_many_values_are_set_and_read_across_slots(cache: Cache) -> None:
    values = {f"key:{number}": number for number in range(200)}
    await cache.set_many(values)
    async with asyncio.timeout(60):
        while await cache.get_many([*values, "missing"]) != values:
            await asyncio.sleep(0.005)


async def test_a_purge_removes_values_with_the_tag_at_once(cache: Cache) -> None:
    await cache.set_many({f"key:{number}": number for number in range(50)}, tags=["shop:7"])
    await cache.set("other", 1, tags=["shop:8"])
    await cache.purge(tag="shop:7")
    assert await cache.get_many([f"key:{number}" for number in range(50)]) == {}
    async with asyncio.timeout(60):
        await wait_value(cache, "other", 1)


async def test_a_missing_value_is_made_once(cache: Cache) -> None:
    calls = 0
    gate = asyncio.Event()

    async def make() -> int:
        nonlocal calls
        calls += 1
        await gate.wait()
        return calls

    tasks = [asyncio.create_task(cache.get_or_set("key", "1h", make)) for _ in range(50)]
    await until("the making", lambda: calls)
    gate.set()
    assert await asyncio.gather(*tasks) == [1] * 50
    assert await cache.get_or_set("key", "1h", make) == 1
    assert calls == 1


@pytest.mark.needs("redis")
async def test_the_default_ttl_is_an_hour(suite_cluster: RedisCluster) -> None:
    async with process(suite_cluster, prefix=f"suite:{uuid4().hex}") as one:
        await one.cache.set("key", 1)
        await one.cache.set_many({f"key:{number}": number for number in range(9)})
    left: list[int] = []
    for node in filter(is_master, suite_cluster.nodes):
        async with connect_node(node) as redis:
            left += [await redis.call("PTTL", key) for key in await redis.call("KEYS", "suite:*:item:*")]
    ttls = [each for each in left if each > 3_000_000]
    assert len(ttls) >= 10
    assert max(ttls) <= 3_600_000
