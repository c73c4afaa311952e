"""Processes that share a store: two caches before one table of items."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit import Duration
from scalekit.telemetry import Telemetry
from scalekit_cache.codec import HttpCodec
from scalekit_cache.policies import CachePolicy
from scalekit_cache.stored_response import Variants
from scalekit_caching.codec import MAGIC
from scalekit_caching.items import Item, Key, Value, digest
from scalekit_caching.memory_store import MemoryStore
from scalekit_caching.metrics import CachingMetrics
from scalekit_caching.tiered_store import TieredStore
from tests.cache.harness import NOON, Origin, Pairs, Reply
from tests.lib.caching.table_store import CODEC, Table, new_process, wait_written

pytestmark = pytest.mark.anyio
CC = "Cache-Control"


@pytest.mark.parametrize(
    "headers",
    [
        [(CC, "max-age=60"), ("ETag", '"ü"'), ("X", "1"), ("X", "2")],
        [(CC, "max-age=60, stale-while-revalidate=9"), ("Vary", "Foo")],
    ],
)
async def test_a_process_reuses_the_response_that_another_has_stored(headers: Pairs) -> None:
    origin, table = Origin(Reply(headers)), Table()
    one, two = new_process(table, origin), new_process(table, origin)
    first = await one.fetch(headers=[("Foo", "1")])
    await wait_written(one)
    two.pass_time(7)
    second = await two.fetch(headers=[("Foo", "1")])
    assert (second.body, second.header("age"), origin.calls) == (first.body, "7", 1)
    assert [value for name, value in second.headers if name == b"x"] == [
        value.encode() for name, value in headers if name == "X"
    ]
    conditions = [("Foo", "1"), ("If-None-Match", '"ü"')]
    assert (await two.fetch(headers=conditions)).status == (304 if "ETag" in dict(headers) else 200)
    assert origin.calls == 1


async def test_durations_of_a_policy_can_be_encoded() -> None:
    origin, table = Origin(Reply()), Table()
    policy = CachePolicy(
        ttl=Duration("1d"), stale_while_revalidate=Duration("5s"), stale_if_error=Duration("1h"), early_refresh=0.1
    )
    one, two = new_process(table, origin, policy), new_process(table, origin, policy)
    await one.fetch()
    await wait_written(one)
    assert (await two.fetch()).body == b"1"


class Slow(Table):
    """A table whose replies wait for an event."""

    def __init__(self) -> None:
        super().__init__()
        self.started, self.go_on, self.purges_read = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def get_one(self, key: bytes) -> bytes | None:
        data = await super().get_one(key)
        self.started.set()
        await self.go_on.wait()
        return data

    async def purges_after(self, version: int, timeout: float = 1.0) -> Mapping[bytes, int] | None:
        await self.purges_read.wait()
        return await super().purges_after(version, timeout)


@pytest.mark.parametrize("learned_first", [True, False])
async def test_an_item_purged_during_its_lookup_is_not_returned(learned_first: bool) -> None:
    table = Slow()
    one, two = new_process(table, Origin()), new_process(table, Origin())
    assert isinstance(two.store, TieredStore)
    await one.values.set("a", 1, 60, tags=["t"])
    async with two.store.running():
        while not two.store._invalidation.in_sync:
            await asyncio.sleep(0)
        getting = asyncio.create_task(two.values.get("a"))
        await table.started.wait()
        await one.values.purge(tag="t")
        assert not two.store._invalidation.in_sync
        if learned_first:
            table.purges_read.set()
            while not two.store._invalidation.in_sync:
                await asyncio.sleep(0)
        table.go_on.set()
        assert await getting is None
        table.purges_read.set()


class NeverWriting(Table):
    """A table whose writes never end."""

    def start_put(self, key: bytes, data: bytes, ttl: float) -> asyncio.Future[None]:
        return asyncio.get_running_loop().create_future()


async def test_a_lookup_is_sent_at_once_unless_its_key_is_being_written() -> None:
    wait_written, other = [(b"x", path, b"", b"http") for path in (b"/written", b"/other")]
    tiered = new_process(NeverWriting(), Origin(Reply())).store
    assert isinstance(tiered, TieredStore)
    async with tiered._invalidation.running():
        while not tiered._invalidation.in_sync:
            await asyncio.sleep(0)
        tiered.put(Variants(wait_written, (b"foo",), b"token"))
        assert tiered.start_get(wait_written) is None
        fetch = tiered.start_get(other)
        assert fetch is not None
        await fetch.reply
        assert fetch.finish() is None


class CountingCodec(HttpCodec):
    """Counts decoded items."""

    decoded = 0

    def decode(self, data: bytes, name: bytes, key: Key) -> Item:
        self.decoded += 1
        return super().decode(data, name, key)


async def test_an_item_above_the_local_budget_is_decoded_again_only_when_it_has_changed() -> None:
    table, codec = Table(), CountingCodec()
    tiered = TieredStore(MemoryStore(1), table, codec, CachingMetrics(Telemetry(1000), "test"), lambda: NOON)
    async with tiered.running():
        while not tiered._invalidation.in_sync:
            await asyncio.sleep(0)
        key = (b"a",)
        for body in (b"1", b"2"):
            codec.decoded = 0
            table.items[digest(key)] = CODEC.encode(Value(key, body, NOON + 60, (b"tag",)), digest(key))
            for _ in range(3):
                found = await tiered.get(key)
                assert isinstance(found, Value)
                assert found.payload == body
            assert codec.decoded == 1
        await tiered.purge([b"tag"])
        assert await tiered.get(key) is None


async def test_a_purge_applies_to_every_process_and_the_shared_store() -> None:
    origin, table = Origin(Reply()), Table()
    policy = CachePolicy(ttl=60.0, tags=(b"tag:t",))
    one, two = new_process(table, origin, policy), new_process(table, origin, policy)
    for harness in (one, two):
        assert (await harness.fetch("/a/b")).body == b"1"
        await wait_written(harness)
    await one.values.set("v", {"a": 1}, 60, tags=["t"])
    await wait_written(one)
    assert await two.values.get("v") == {"a": 1}
    await one.values.purge(tag="t")
    three = new_process(table, origin, policy)
    assert [await each.values.get("v") for each in (one, two, three)] == [None] * 3
    assert (await two.fetch("/a/b")).body == b"2"
    await wait_written(two)
    assert (await three.fetch("/a/b")).body == b"2"
    await three.values.purge(path="/a/**")
    assert (await one.fetch("/a/b")).body == b"3"


async def test_an_unsafe_request_invalidates_the_response_in_the_shared_store() -> None:
    origin, table = Origin(Reply([(CC, "max-age=60")])), Table()
    one, two = new_process(table, origin), new_process(table, origin)
    await one.fetch()
    await wait_written(one)
    await one.fetch(method="POST")
    assert table.items == {}
    assert (await two.fetch()).body == b"3"


async def test_an_unsafe_request_invalidates_a_response_in_flight_in_another_process() -> None:
    origin, table = Origin(Reply([(CC, "max-age=60")])), Table()
    one, two = new_process(table, origin), new_process(table, origin)
    gate = origin.gate = asyncio.Event()
    making = asyncio.create_task(one.fetch())
    while not origin.calls:
        await asyncio.sleep(0)
    origin.gate = None
    await two.fetch(method="POST")
    gate.set()
    assert (await making).body == b"1"
    await wait_written(one)
    assert [(await each.fetch()).body for each in (two, one)] == [b"3", b"3"]


async def test_without_the_shared_store_requests_succeed_and_failures_are_counted() -> None:
    origin, table = Origin(Reply([(CC, "max-age=60")])), Table()
    harness = new_process(table, origin)
    table.broken = ConnectionError("unavailable")
    assert [(await harness.fetch()).body for _ in range(3)] == [b"1"] * 3
    await wait_written(harness)
    await harness.values.set("a", 1, 60)
    assert await harness.values.get("a") == 1
    assert (await harness.fetch(method="POST")).status == 200
    with pytest.raises(ConnectionError):
        await harness.values.purge(tag="t")
    families = harness.telemetry.snapshot().families["scalekit_cache_store_failures"].data
    assert set(families) == {("ConnectionError",)}


HOSTILE = [b"", b"\x80\x04\x95", b"\0" * 100, MAGIC, MAGIC + b"\0" * 20, MAGIC + b"x" * 50, b"SKc9" + b"x" * 50, b"{}"]


@given(st.sampled_from(HOSTILE) | st.binary(max_size=200) | st.binary(max_size=200).map(MAGIC.__add__))
def test_corrupt_entries_are_misses_counted_and_deleted(data: bytes) -> None:
    async def once() -> None:
        origin, table = Origin(Reply([(CC, "max-age=60")])), Table()
        harness = new_process(table, origin)
        key = digest((b"shop.example", b"/", b"", b"http"))
        table.items[key] = data
        table.items[digest((b"object", b"v"))] = data
        assert (await harness.fetch()).status == 200
        assert await harness.values.get("v") is None
        await wait_written(harness)
        assert harness.metrics.corrupt.value == 2
        assert table.items[key] != data
        assert digest((b"object", b"v")) not in table.items

    asyncio.run(once())
