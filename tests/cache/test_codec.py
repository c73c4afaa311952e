"""Corrupt and foreign entries in a shared store are misses."""

from __future__ import annotations

import struct
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple
from zlib import crc32

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scalekit.telemetry import Telemetry
from scalekit_cache.codec import HttpCodec
from scalekit_caching.codec import HEAD, MAGIC, Corrupt
from scalekit_caching.items import digest
from scalekit_caching.redis_store import RedisStore
from scalekit_caching.tiered_store import TieredStore
from scalekit_redis import Connections, Redis
from tests.cache.conftest import Shared
from tests.cache.harness import CacheHarness, Origin, Reply
from tests.lib.caching.test_tiered_store import process, written

pytestmark = pytest.mark.anyio

HEADERS = [("Cache-Control", "max-age=60"), ("ETag", '"x"')]
KEY, OTHER = ((b"shop.example", path, b"", b"http") for path in (b"/a", b"/b"))
ITEM = b"hostile:item:"


class SharedStore(NamedTuple):
    """Two good frames, of the answers to /a and /b."""

    own: bytes
    other: bytes


Harm = Callable[[SharedStore], bytes]
HARMS: dict[str, Harm] = {
    "nothing": lambda frames: b"",
    "a pickle": lambda frames: b"\x80\x04\x95.",
    "the head alone": lambda frames: frames.own[: HEAD.size],
    "half a head": lambda frames: frames.own[:20],
    "truncated": lambda frames: frames.own[:-1],
    "longer": lambda frames: frames.own + b"\0",
    "longer, with a good checksum": lambda frames: frames.own + struct.pack("<I", crc32(frames.own)),
    "huge": lambda frames: frames.own + b"\0" * 5_000_000,
    "another version's": lambda frames: b"SKc2" + frames.own[len(MAGIC) :],
    "another key's": lambda frames: frames.other,
}


@asynccontextmanager
async def store(shared: Shared) -> AsyncGenerator[tuple[Redis, RedisStore], None]:
    async with Connections(Telemetry(100)).open(shared.url, timeout=10) as redis:
        yield redis, RedisStore(redis, "hostile")


@asynccontextmanager
async def asking(frames: RedisStore, origin: Origin, hears: bool) -> AsyncGenerator[CacheHarness, None]:
    """Give a process that has nothing itself; it *hears* of changes, or asks for purges each time."""
    harness = process(frames, origin)
    levels = harness.store
    assert isinstance(levels, TieredStore)
    if not hears:
        yield harness
        return
    async with levels.running():
        learning = levels._invalidation._syncing
        while not levels._invalidation.in_sync:
            if learning is not None:
                await learning
            learning = levels._invalidation._syncing
            await levels.shared_store.version()
        yield harness


async def good(frames: RedisStore, origin: Origin) -> SharedStore:
    harness = process(frames, origin)
    for path in ("/a", "/b"):
        await harness.ask(path)
    await written(harness)
    (own, other), _ = await frames.get_many([digest(KEY), digest(OTHER)])
    assert own is not None
    assert other is not None
    return SharedStore(own, other)


async def is_missing(frames: RedisStore, origin: Origin, hears: bool) -> None:
    """Check that what was left is given to nobody, and that a new answer takes its place."""
    async with asking(frames, origin, hears) as harness:
        calls = origin.calls
        answer = await harness.ask("/a")
        assert (answer.status, answer.body, origin.calls) == (200, b"%d" % (calls + 1), calls + 1)
        assert harness.metrics.corrupt.value == 1
        await written(harness)
    async with asking(frames, origin, hears) as harness:
        assert (await harness.ask("/a")).body == answer.body
        assert harness.metrics.corrupt.value == 0


@pytest.mark.parametrize("hears", [True, False])
@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS.keys())
async def test_what_others_leave_is_missing(shared: Shared, harm: Harm, hears: bool) -> None:
    origin = Origin(Reply(HEADERS))
    async with store(shared) as (redis, frames):
        await redis.set(ITEM + digest(KEY), harm(await good(frames, origin)), ttl=60)
        await is_missing(frames, origin, hears)


@pytest.mark.parametrize("hears", [True, False])
async def test_a_key_of_another_type_is_missing(shared: Shared, hears: bool) -> None:
    origin = Origin(Reply(HEADERS))
    async with store(shared) as (redis, frames):
        await redis.call("LPUSH", ITEM + digest(KEY), "x")
        await is_missing(frames, origin, hears)


async def test_a_byte_that_was_flipped_anywhere_is_noticed(shared: Shared) -> None:
    origin = Origin(Reply(HEADERS))
    async with store(shared) as (redis, frames):
        own = (await good(frames, origin)).own
        async with asking(frames, origin, hears=True) as harness:
            for place in range(len(own)):
                flipped = bytes([*own[:place], own[place] ^ 1, *own[place + 1 :]])
                await redis.set(ITEM + digest(KEY), flipped, ttl=60)
                assert await harness.store.get(KEY) is None, place
            assert harness.metrics.corrupt.value == len(own)


@given(st.sampled_from([b"v", b"e", b"x", b"?"]), st.binary(max_size=200))
@example(b"e", struct.pack(">HdddhhIII", 200, float("nan"), 0, 0, -1, -1, 0, 0, 0))
@example(b"e", struct.pack(">HdddhhIII", 200, 0, 0, 0, 9, 9, 0, 0, 0))
@example(b"v", struct.pack(">dI", float("inf"), 0))
def test_nonsense_with_a_good_checksum_is_refused_or_an_item_and_nothing_else(kind: bytes, rest: bytes) -> None:
    name = digest(KEY)
    frame = HEAD.pack(MAGIC, HEAD.size + len(rest) + 4, name, kind, 1) + rest
    try:
        item = HttpCodec().decode(frame + struct.pack("<I", crc32(frame)), name, KEY)
    except Corrupt:
        return
    assert item.key == KEY
