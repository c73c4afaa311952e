"""Processes that share a store: two caches before one table of frames."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit import Duration
from scalekit.telemetry import Telemetry
from scalekit_cache.codec import HttpCodec
from scalekit_cache.policies import CachePolicy
from scalekit_cache.stored_response import StoredResponse, Variants
from scalekit_caching.codec import MAGIC, Corrupt
from scalekit_caching.items import Item, Key, Value, digest
from scalekit_caching.memory_store import MemoryStore
from scalekit_caching.metrics import CachingMetrics
from scalekit_caching.shared_store import ChangeListener, LeaseName, SharedStore
from scalekit_caching.tiered_store import TieredStore
from tests.cache.harness import NOON, CacheHarness, Origin, Pairs, Reply

pytestmark = pytest.mark.anyio

CC = "Cache-Control"
CODEC = HttpCodec()


class Table:
    """Items in a dictionary, with the numbers and leases that a shared store has."""

    def __init__(self) -> None:
        self.frames: dict[bytes, bytes] = {}
        self.last = 0
        self.purged: dict[bytes, int] = {}
        self.leases: dict[LeaseName, bytes] = {}
        self.listeners: list[ChangeListener] = []
        self.broken: Exception | None = None

    def check(self) -> None:
        if self.broken is not None:
            raise self.broken

    async def get_one(self, key: bytes) -> bytes | None:
        self.check()
        return self.frames.get(key)

    def start_get(self, key: bytes) -> asyncio.Future[bytes | None]:
        return asyncio.ensure_future(self.get_one(key))

    def read_reply(self, reply: asyncio.Future[bytes | None]) -> bytes | None:
        return reply.result()

    async def get_many(self, keys: Sequence[bytes]) -> tuple[list[bytes | None], int]:
        self.check()
        return [self.frames.get(key) for key in keys], self.last

    async def put_many(self, items: Mapping[bytes, bytes], ttls: Sequence[float]) -> None:
        self.check()
        assert all(each > 0 for each in ttls)
        self.frames |= items
        self.notify(list(items))

    def start_put(self, key: bytes, data: bytes, ttl: float) -> asyncio.Future[None]:
        return asyncio.ensure_future(self.put_many({key: data}, [ttl]))

    def start_put_and_release(self, lease: LeaseName, token: bytes, data: bytes, ttl: float) -> asyncio.Future[None]:
        async def both() -> None:
            try:
                await self.put_many({lease.name: data}, [ttl])
            finally:
                self.release_lease(lease, token)

        return asyncio.ensure_future(both())

    async def delete(self, keys: Sequence[bytes]) -> None:
        self.check()
        for key in keys:
            self.frames.pop(key, None)
        self.notify(keys)

    def notify(self, keys: Sequence[bytes]) -> None:
        for each in self.listeners:
            each.on_change(keys)

    async def version(self, timeout: float | None = None) -> int:
        self.check()
        return self.last

    async def tag_versions(self, tags: Sequence[bytes]) -> Sequence[int]:
        self.check()
        return [self.purged.get(tag, 0) for tag in tags]

    async def purges_after(self, version: int, timeout: float = 1.0) -> Mapping[bytes, int] | None:
        self.check()
        return {tag: last for tag, last in self.purged.items() if last > version}

    async def purge(self, tags: Sequence[bytes]) -> int:
        self.check()
        self.last += 1
        self.purged |= dict.fromkeys(tags, self.last)
        for each in self.listeners:
            each.on_purge()
        return self.last

    async def scan(self) -> AsyncGenerator[list[bytes], None]:
        self.check()
        for key in list(self.frames):
            yield [key, key]

    async def get_heads(self, keys: Sequence[bytes], size: int) -> list[bytes | None]:
        self.check()
        return [frame[:size] if (frame := self.frames.get(key)) else None for key in keys]

    @asynccontextmanager
    async def subscribe(self, listener: ChangeListener) -> AsyncGenerator[None, None]:
        self.listeners.append(listener)
        listener.on_start()
        yield
        self.listeners.remove(listener)

    async def acquire_lease(self, lease: LeaseName, token: bytes, ttl: float) -> tuple[bool, bytes | None]:
        self.check()
        return self.leases.setdefault(lease, token) == token, self.frames.get(lease.name)

    def release_lease(self, lease: LeaseName, token: bytes) -> None:
        if self.leases.get(lease) == token:
            del self.leases[lease]


def process(table: SharedStore, origin: Origin, policy: CachePolicy = CachePolicy()) -> CacheHarness:  # noqa: B008 - it is frozen
    harness = CacheHarness(origin, [("/**", policy)], store=MemoryStore(1))
    levels = TieredStore(MemoryStore(2**20), table, CODEC, harness.metrics, lambda: harness.now)
    harness.cache.store = harness.objects._store = harness.store = levels
    return harness


async def written(*laboratories: CacheHarness) -> None:
    for harness in laboratories:
        assert isinstance(harness.store, TieredStore)
        await harness.store.close()


@pytest.mark.parametrize(
    "headers",
    [
        [(CC, "max-age=60"), ("ETag", '"ü"'), ("X", "1"), ("X", "2")],
        [(CC, "max-age=60, stale-while-revalidate=9"), ("Vary", "Foo")],
    ],
)
async def test_what_one_process_has_stored_another_gives(headers: Pairs) -> None:
    origin, table = Origin(Reply(headers)), Table()
    one, two = process(table, origin), process(table, origin)
    first = await one.ask(headers=[("Foo", "1")])
    await written(one)
    two.pass_time(7)
    second = await two.ask(headers=[("Foo", "1")])
    assert (second.body, second.header("age"), origin.calls) == (first.body, "7", 1)
    assert [value for name, value in second.headers if name == b"x"] == [
        value.encode() for name, value in headers if name == "X"
    ]
    asked = [("Foo", "1"), ("If-None-Match", '"ü"')]
    assert (await two.ask(headers=asked)).status == (304 if "ETag" in dict(headers) else 200)
    assert origin.calls == 1


async def test_times_of_the_file_go_to_the_shared_store() -> None:
    origin, table = Origin(Reply()), Table()
    policy = CachePolicy(
        ttl=Duration("1d"), stale_while_revalidate=Duration("5s"), stale_if_error=Duration("1h"), early_refresh=0.1
    )
    one, two = process(table, origin, policy), process(table, origin, policy)
    await one.ask()
    await written(one)
    assert (await two.ask()).body == b"1"


async def test_twenty_cold_requests_in_each_of_two_processes_are_one_call() -> None:
    origin, table = Origin(Reply([(CC, "max-age=60")])), Table()
    origin.gate = asyncio.Event()
    processes = [process(table, origin), process(table, origin)]
    tasks = [asyncio.create_task(each.ask()) for each in processes for _ in range(20)]
    while not origin.calls:
        await asyncio.sleep(0)
    origin.gate.set()
    answers = await asyncio.gather(*tasks)
    assert {answer.body for answer in answers} == {b"1"}
    assert (origin.calls, table.leases) == (1, {})


async def test_when_the_process_that_leads_fails_another_makes_it() -> None:
    origin, table = Origin(Reply(error=ValueError("broken")), Reply([(CC, "max-age=60")])), Table()
    origin.gate = asyncio.Event()
    one, two = process(table, origin), process(table, origin)
    failing = asyncio.create_task(one.ask())
    while not origin.calls:
        await asyncio.sleep(0)
    waiting = [asyncio.create_task(two.ask()) for _ in range(5)]
    origin.gate.set()
    with pytest.raises(ValueError, match="broken"):
        await failing
    assert {answer.body for answer in await asyncio.gather(*waiting)} == {b"2"}
    assert (origin.calls, table.leases) == (2, {})


class Slow(Table):
    """Items that have been asked for, and are on their way until told."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.go_on, self.learned = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def get_one(self, key: bytes) -> bytes | None:
        frame = await super().get_one(key)
        self.asked.set()
        await self.go_on.wait()
        return frame

    async def purges_after(self, version: int, timeout: float = 1.0) -> Mapping[bytes, int] | None:
        await self.learned.wait()
        return await super().purges_after(version, timeout)


@pytest.mark.parametrize("learned_first", [True, False])
async def test_what_is_purged_while_it_is_on_its_way_is_not_given(learned_first: bool) -> None:
    table = Slow()
    one, two = process(table, Origin()), process(table, Origin())
    assert isinstance(two.store, TieredStore)
    await one.objects.set("a", 1, 60, tags=["t"])
    async with two.store.running():
        while not two.store._invalidation.in_sync:
            await asyncio.sleep(0)
        getting = asyncio.create_task(two.objects.get("a"))
        await table.asked.wait()
        await one.objects.purge(tag="t")
        assert not two.store._invalidation.in_sync
        if learned_first:
            table.learned.set()
            while not two.store._invalidation.in_sync:
                await asyncio.sleep(0)
        table.go_on.set()
        assert await getting is None
        table.learned.set()


@pytest.mark.parametrize("field", ["generated_at", "expires", "refresh_at"])
def test_a_response_with_no_time_is_refused(field: str) -> None:
    (entry,) = (item for item in kept() if isinstance(item, StoredResponse))
    name, before = digest(entry.key), getattr(entry, field)
    setattr(entry, field, float("nan"))
    frame = CODEC.encode(entry, name)
    setattr(entry, field, before)
    with pytest.raises(Corrupt, match="invalid time"):
        CODEC.decode(frame, name, entry.key)


class Late(Table):
    """Items of *table* for a process that is slow between its look and its lease."""

    def __init__(self, table: Table) -> None:
        self.__dict__ = table.__dict__ | {"looked": asyncio.Event(), "go_on": asyncio.Event()}

    async def acquire_lease(self, lease: LeaseName, token: bytes, ttl: float) -> tuple[bool, bytes | None]:
        self.looked.set()
        await self.go_on.wait()
        return await super().acquire_lease(lease, token, ttl)

    looked: asyncio.Event
    go_on: asyncio.Event


@pytest.mark.parametrize("vary", [(), (("Vary", "Foo"),)])
async def test_who_has_the_lease_just_after_another_has_finished_finds_what_that_has_made(vary: Pairs) -> None:
    origin, table = Origin(Reply([(CC, "max-age=60"), *vary])), Table()
    late = Late(table)
    one, two = process(table, origin), process(late, origin)
    waiting = [asyncio.create_task(two.ask(headers=[("Foo", "1")])) for _ in range(3)]
    await late.looked.wait()
    assert (await one.ask(headers=[("Foo", "1")])).body == b"1"
    await written(one)
    late.go_on.set()
    assert {answer.body for answer in await asyncio.gather(*waiting)} == {b"1"}
    assert (origin.calls, table.leases, two.cache._flights) == (1, {}, {})


async def test_a_client_that_wants_it_new_gets_it_new_though_another_response_is_there() -> None:
    origin, table = Origin(Reply([(CC, "max-age=60")])), Table()
    one, two = process(table, origin), process(table, origin)
    await one.ask()
    await written(one)
    assert (await two.ask(headers=[(CC, "no-cache")])).body == b"2"
    await written(two)
    assert table.leases == {}


class Forgetful(Table):
    """Items whose writes are lost on the way, leases and all; releases are told apart."""

    def __init__(self) -> None:
        super().__init__()
        self.loses = False
        self.writes: list[bytes] = []
        self.released: list[LeaseName] = []

    def start_put_and_release(self, lease: LeaseName, token: bytes, data: bytes, ttl: float) -> asyncio.Future[None]:
        async def lose() -> None:
            raise ConnectionError("lost")

        self.writes.append(data)
        return asyncio.ensure_future(lose()) if self.loses else super().start_put_and_release(lease, token, data, ttl)

    def release_lease(self, lease: LeaseName, token: bytes) -> None:
        self.released.append(lease)
        super().release_lease(lease, token)


@pytest.mark.parametrize("loses", [False, True])
async def test_a_lease_ends_with_the_write_and_by_itself_only_where_that_is_lost(loses: bool) -> None:
    table = Forgetful()
    table.loses = loses
    one = process(table, Origin(Reply([(CC, "max-age=60")])))
    await one.ask()
    await written(one)
    await asyncio.sleep(0)
    assert (len(table.writes), table.leases) == (1, {})
    assert len(table.released) == 1, "by the table itself, or once it is known that the write was lost"


@pytest.mark.parametrize(("headers", "largest"), [([("Vary", "Foo")], 65536), ([], 100)])
async def test_a_lease_ends_after_a_write_that_cannot_end_it(
    headers: list[tuple[str, str]], largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scalekit_caching.tiered_store.MAX_SCRIPT_ITEM", largest)
    table, origin = Forgetful(), Origin(Reply([(CC, "max-age=60"), *headers]))
    one = process(table, origin)
    await one.ask()
    await written(one)
    await asyncio.sleep(0)
    assert (table.writes, table.leases, len(table.released)) == ([], {}, 1)
    assert (await process(table, origin).ask()).body == b"1"
    assert origin.calls == 1


class Holding(Table):
    """One that never ends a write."""

    def start_put(self, key: bytes, data: bytes, ttl: float) -> asyncio.Future[None]:
        return asyncio.get_running_loop().create_future()


async def test_a_look_up_goes_out_at_once_unless_its_own_key_is_being_written() -> None:
    written, other = [(b"x", path, b"", b"http") for path in (b"/written", b"/other")]
    levels = process(Holding(), Origin(Reply())).store
    assert isinstance(levels, TieredStore)
    async with levels._invalidation.running():
        while not levels._invalidation.in_sync:
            await asyncio.sleep(0)
        levels.put(Variants(written, (b"foo",), b"token"))
        assert levels.start_get(written) is None
        fetch = levels.start_get(other)
        assert fetch is not None
        await fetch.reply
        assert fetch.finish() is None


class CountingCodec(HttpCodec):
    """Counts what it decodes."""

    decoded = 0

    def decode(self, data: bytes, name: bytes, key: Key) -> Item:
        self.decoded += 1
        return super().decode(data, name, key)


async def test_a_frame_that_finds_no_room_in_the_process_is_decoded_again_only_when_it_has_changed() -> None:
    table, codec = Table(), CountingCodec()
    levels = TieredStore(MemoryStore(1), table, codec, CachingMetrics(Telemetry(1000), "test"), lambda: NOON)
    async with levels.running():
        while not levels._invalidation.in_sync:
            await asyncio.sleep(0)
        key = (b"a",)
        for body in (b"1", b"2"):
            codec.decoded = 0
            table.frames[digest(key)] = CODEC.encode(Value(key, body, NOON + 60, (b"tag",)), digest(key))
            for _ in range(3):
                found = await levels.get(key)
                assert isinstance(found, Value)
                assert found.payload == body
            assert codec.decoded == 1
        await levels.purge([b"tag"])
        assert await levels.get(key) is None


async def test_who_waits_for_another_process_can_be_cancelled_and_leaves_nothing() -> None:
    origin, table = Origin(Reply([(CC, "max-age=60")])), Table()
    origin.gate = asyncio.Event()
    one, two = process(table, origin), process(table, origin)
    leading = asyncio.create_task(one.ask())
    while not origin.calls:
        await asyncio.sleep(0)
    waiting = [asyncio.create_task(two.ask()) for _ in range(3)]
    while len(two.cache._flights) == 0:
        await asyncio.sleep(0)
    for _ in range(5):
        await asyncio.sleep(0)
    waiting[0].cancel()
    origin.gate.set()
    answers = await asyncio.gather(leading, *waiting, return_exceptions=True)
    assert [getattr(answer, "body", None) for answer in answers] == [b"1", None, b"1", b"1"]
    assert (two.cache._flights, table.leases) == ({}, {})


async def test_a_purge_counts_in_every_process_and_for_what_is_only_in_the_shared_store() -> None:
    origin, table = Origin(Reply()), Table()
    policy = CachePolicy(ttl=60.0, tags=(b"tag:t",))
    one, two = process(table, origin, policy), process(table, origin, policy)
    for harness in (one, two):
        assert (await harness.ask("/a/b")).body == b"1"
        await written(harness)
    await one.objects.set("v", {"a": 1}, 60, tags=["t"])
    await written(one)
    assert await two.objects.get("v") == {"a": 1}
    await one.objects.purge(tag="t")
    three = process(table, origin, policy)
    assert [await each.objects.get("v") for each in (one, two, three)] == [None] * 3
    assert (await two.ask("/a/b")).body == b"2"
    await written(two)
    assert (await three.ask("/a/b")).body == b"2"
    await three.objects.purge(path="/a/**")
    assert (await one.ask("/a/b")).body == b"3"


async def test_a_change_in_one_process_makes_what_is_in_the_shared_store_wrong() -> None:
    origin, table = Origin(Reply([(CC, "max-age=60")])), Table()
    one, two = process(table, origin), process(table, origin)
    await one.ask()
    await written(one)
    await one.ask(method="POST")
    assert table.frames == {}
    assert (await two.ask()).body == b"3"


async def test_a_change_in_one_process_makes_what_another_is_making_wrong() -> None:
    origin, table = Origin(Reply([(CC, "max-age=60")])), Table()
    one, two = process(table, origin), process(table, origin)
    gate = origin.gate = asyncio.Event()
    making = asyncio.create_task(one.ask())
    while not origin.calls:
        await asyncio.sleep(0)
    origin.gate = None
    await two.ask(method="POST")
    gate.set()
    assert (await making).body == b"1"
    await written(one)
    assert [(await each.ask()).body for each in (two, one)] == [b"3", b"3"]


async def test_without_the_shared_store_each_process_goes_on_and_failures_are_counted() -> None:
    origin, table = Origin(Reply([(CC, "max-age=60")])), Table()
    harness = process(table, origin)
    table.broken = ConnectionError("gone")
    assert [(await harness.ask()).body for _ in range(3)] == [b"1"] * 3
    await written(harness)
    await harness.objects.set("a", 1, 60)
    assert await harness.objects.get("a") == 1
    assert (await harness.ask(method="POST")).status == 200
    with pytest.raises(ConnectionError):
        await harness.objects.purge(tag="t")
    families = harness.telemetry.snapshot().families["scalekit_cache_store_failures"].data
    assert set(families) == {("ConnectionError",)}


HOSTILE = [b"", b"\x80\x04\x95", b"\0" * 100, MAGIC, MAGIC + b"\0" * 20, MAGIC + b"x" * 50, b"SKc9" + b"x" * 50, b"{}"]


@given(st.sampled_from(HOSTILE) | st.binary(max_size=200) | st.binary(max_size=200).map(MAGIC.__add__))
def test_a_hostile_entry_is_a_miss_counted_and_deleted(frame: bytes) -> None:
    async def once() -> None:
        origin, table = Origin(Reply([(CC, "max-age=60")])), Table()
        harness = process(table, origin)
        key = digest((b"shop.example", b"/", b"", b"http"))
        table.frames[key] = frame
        table.frames[digest((b"object", b"v"))] = frame
        assert (await harness.ask()).status == 200
        assert await harness.objects.get("v") is None
        await written(harness)
        assert harness.metrics.corrupt.value == 2
        assert table.frames[key] != frame
        assert digest((b"object", b"v")) not in table.frames

    asyncio.run(once())


@lru_cache
def kept() -> list[Item]:
    return asyncio.run(made())


async def made() -> list[Item]:
    origin, table = Origin(Reply([(CC, "max-age=60"), ("Vary", "Foo")])), Table()
    harness = process(table, origin)
    await harness.ask()
    await harness.objects.set("v", b"\xff", 60)
    assert isinstance(harness.store, TieredStore)
    return list(harness.store.local.table.items.values())


@given(st.data())
def test_a_frame_that_was_changed_anywhere_is_refused(data: st.DataObject) -> None:
    item = data.draw(st.sampled_from(kept()))
    name = digest(item.key)
    whole = CODEC.encode(item, name)
    frame = bytearray(whole)
    place = data.draw(st.integers(0, len(frame) - 1))
    frame[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Corrupt):
        CODEC.decode(bytes(frame), name, item.key)
    with pytest.raises(Corrupt):
        CODEC.decode(whole[:place], name, item.key)
    with pytest.raises(Corrupt, match="another key"):
        CODEC.decode(whole, digest((*item.key, b"")), (*item.key, b""))


def test_every_kind_of_item_comes_back() -> None:
    items = kept()
    assert {type(item) for item in items} == {StoredResponse, Value, Variants}
    for item in items:
        name = digest(item.key)
        whole = CODEC.encode(item, name)
        again = CODEC.decode(whole, name, item.key)
        assert type(again) is type(item)
        assert HttpCodec().encode(again, name) == whole


def test_a_value_is_of_use_until_it_expires() -> None:
    assert Value((b"object", b"a"), b"", NOON + 5).retain_until() == NOON + 5
