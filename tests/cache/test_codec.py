"""Items survive a round trip; corrupt and foreign entries in a shared store are misses."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from copy import copy
from functools import lru_cache
from typing import NamedTuple
from zlib import crc32

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scalekit.telemetry import Telemetry
from scalekit_cache.codec import HttpCodec
from scalekit_cache.stored_response import ROUTE, StoredResponse, Variants
from scalekit_caching.codec import HEAD, MAGIC, Corrupt
from scalekit_caching.items import Item, Value, digest
from scalekit_caching.redis_store import RedisStore
from scalekit_caching.tiered_store import TieredStore
from scalekit_redis import Connections, Redis
from tests.cache.conftest import Shared
from tests.cache.harness import CacheHarness, Origin, Reply
from tests.lib.caching.table_store import CODEC, Table, new_process, wait_written

pytestmark = pytest.mark.anyio
HEADERS = [("Cache-Control", "max-age=60"), ("ETag", '"x"')]
KEY, OTHER = ((b"shop.example", path, b"", b"http") for path in (b"/a", b"/b"))
ITEM = b"hostile:item:"


class ValidItems(NamedTuple):
    """Two valid items: the responses to /a and /b."""

    own: bytes
    other: bytes


Harm = Callable[[ValidItems], bytes]
HARMS: dict[str, Harm] = {
    "nothing": lambda items: b"",
    "a pickle": lambda items: b"\x80\x04\x95.",
    "the head alone": lambda items: items.own[: HEAD.size],
    "half a head": lambda items: items.own[:20],
    "truncated": lambda items: items.own[:-1],
    "longer": lambda items: items.own + b"\0",
    "longer, with a good checksum": lambda items: items.own + struct.pack("<I", crc32(items.own)),
    "huge": lambda items: items.own + b"\0" * 5_000_000,
    "another version's": lambda items: b"SKc2" + items.own[len(MAGIC) :],
    "another key's": lambda items: items.other,
}


@asynccontextmanager
async def store(shared: Shared) -> AsyncGenerator[tuple[Redis, RedisStore], None]:
    async with Connections(Telemetry(100)).open(shared.url, timeout=10) as redis:
        yield redis, RedisStore(redis, "hostile")


@asynccontextmanager
async def new_reader(items: RedisStore, origin: Origin, in_sync: bool) -> AsyncGenerator[CacheHarness, None]:
    """Run a process without local items; it *in_sync* of changes, or reads tag versions for each lookup."""
    harness = new_process(items, origin)
    tiered = harness.store
    assert isinstance(tiered, TieredStore)
    if not in_sync:
        yield harness
        return
    async with tiered.running():
        learning = tiered._invalidation._syncing
        while not tiered._invalidation.in_sync:
            if learning is not None:
                await learning
            learning = tiered._invalidation._syncing
            await tiered.shared_store.version()
        yield harness


async def put_valid_items(items: RedisStore, origin: Origin) -> ValidItems:
    harness = new_process(items, origin)
    for path in ("/a", "/b"):
        await harness.fetch(path)
    await wait_written(harness)
    (own, other), _ = await items.get_many([digest(KEY), digest(OTHER)])
    assert own is not None
    assert other is not None
    return ValidItems(own, other)


async def check_missing(items: RedisStore, origin: Origin, in_sync: bool) -> None:
    """Check that the data is a miss, and that a new response replaces it."""
    async with new_reader(items, origin, in_sync) as harness:
        calls = origin.calls
        response = await harness.fetch("/a")
        assert (response.status, response.body, origin.calls) == (200, b"%d" % (calls + 1), calls + 1)
        assert harness.metrics.corrupt.value == 1
        await wait_written(harness)
    async with new_reader(items, origin, in_sync) as harness:
        assert (await harness.fetch("/a")).body == response.body
        assert harness.metrics.corrupt.value == 0


@pytest.mark.parametrize("in_sync", [True, False])
@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS.keys())
async def test_foreign_data_is_a_miss(shared: Shared, harm: Harm, in_sync: bool) -> None:
    origin = Origin(Reply(HEADERS))
    async with store(shared) as (redis, items):
        await redis.set(ITEM + digest(KEY), harm(await put_valid_items(items, origin)), ttl=60)
        await check_missing(items, origin, in_sync)


@pytest.mark.parametrize("in_sync", [True, False])
async def test_a_key_of_another_type_is_a_miss(shared: Shared, in_sync: bool) -> None:
    origin = Origin(Reply(HEADERS))
    async with store(shared) as (redis, items):
        await redis.call("LPUSH", ITEM + digest(KEY), "x")
        await check_missing(items, origin, in_sync)


async def test_a_flipped_byte_is_detected(shared: Shared) -> None:
    origin = Origin(Reply(HEADERS))
    async with store(shared) as (redis, items):
        own = (await put_valid_items(items, origin)).own
        async with new_reader(items, origin, in_sync=True) as harness:
            for place in range(len(own)):
                flipped = bytes([*own[:place], own[place] ^ 1, *own[place + 1 :]])
                await redis.set(ITEM + digest(KEY), flipped, ttl=60)
                assert await harness.store.get(KEY) is None, place
            assert harness.metrics.corrupt.value == len(own)


@given(st.sampled_from([b"v", b"e", b"x", b"?"]), st.binary(max_size=200))
@example(b"e", struct.pack(">HdddhhIII", 200, float("nan"), 0, 0, -1, -1, 0, 0, 0))
@example(b"e", struct.pack(">HdddhhIII", 200, 0, 0, 0, 9, 9, 0, 0, 0))
@example(b"v", struct.pack(">dI", float("inf"), 0))
def test_random_data_with_a_valid_checksum_is_refused_or_decoded(kind: bytes, rest: bytes) -> None:
    name = digest(KEY)
    frame = HEAD.pack(MAGIC, HEAD.size + len(rest) + 4, name, kind, 1) + rest
    try:
        item = HttpCodec().decode(frame + struct.pack("<I", crc32(frame)), name, KEY)
    except Corrupt:
        return
    assert item.key == KEY


async def make_items() -> list[Item]:
    origin, table = Origin(Reply([("Cache-Control", "max-age=60"), ("Vary", "Foo")])), Table()
    harness = new_process(table, origin)
    await harness.fetch()
    await harness.values.set("v", b"\xff", 60)
    assert isinstance(harness.store, TieredStore)
    return list(harness.store.local.table.items.values())


@lru_cache
def stored_items() -> list[Item]:
    return asyncio.run(make_items())


@pytest.mark.parametrize("field", ["generated_at", "expires", "refresh_at"])
def test_a_response_with_an_invalid_time_is_refused(field: str) -> None:
    (entry,) = (item for item in stored_items() if isinstance(item, StoredResponse))
    name, before = digest(entry.key), getattr(entry, field)
    setattr(entry, field, float("nan"))
    frame = CODEC.encode(entry, name)
    setattr(entry, field, before)
    with pytest.raises(Corrupt, match="invalid time"):
        CODEC.decode(frame, name, entry.key)


@given(st.data())
def test_changed_or_truncated_data_is_refused(data: st.DataObject) -> None:
    item = data.draw(st.sampled_from(stored_items()))
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


def test_every_kind_of_item_survives_a_round_trip() -> None:
    items = stored_items()
    assert {type(item) for item in items} == {StoredResponse, Value, Variants}
    for item in items:
        name = digest(item.key)
        whole = CODEC.encode(item, name)
        again = CODEC.decode(whole, name, item.key)
        assert type(again) is type(item)
        assert HttpCodec().encode(again, name) == whole


@pytest.mark.parametrize("route", ["", "/items/{id}"])
def test_the_template_of_the_route_is_stored(route: str) -> None:
    item = next(copy(item) for item in stored_items() if isinstance(item, StoredResponse))
    item.route_scope = {"endpoint": object(), ROUTE: route}
    again = CODEC.decode(CODEC.encode(item, digest(item.key)), digest(item.key), item.key)
    assert isinstance(again, StoredResponse)
    assert again.route_scope == ({"path_template": route, ROUTE: route} if route else {})
