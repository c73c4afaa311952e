from __future__ import annotations

import pytest

from scalekit_idempotency.keyed_request import KeyedRequest
from scalekit_idempotency.recorded_response import NOT_STORED, RecordedResponse
from scalekit_idempotency.stores.contract import Record
from scalekit_idempotency.stores.memory import MemoryIdempotencyStore

pytestmark = pytest.mark.anyio


def keyed(key: str) -> KeyedRequest:
    return KeyedRequest(key, "", "POST", "/", "")


async def is_stored(store: MemoryIdempotencyStore, key: str) -> bool:
    async with store.claim(keyed(key)) as found:
        return isinstance(found, Record)


async def test_the_oldest_record_makes_room() -> None:
    store = MemoryIdempotencyStore(60, 2)
    for key in "abac":  # b is the oldest: a was stored again
        store.put(keyed(key), NOT_STORED)
    assert [await is_stored(store, key) for key in "abc"] == [True, False, True]


async def test_expired_records_are_claimed_again_and_deleted() -> None:
    store = MemoryIdempotencyStore(-1, 2)
    store.put(keyed("a"), NOT_STORED)
    assert not await is_stored(store, "a")
    assert await store.clean_up() == 0
    store = MemoryIdempotencyStore(60, 2)
    store.put(keyed("a"), NOT_STORED)
    assert await store.clean_up() == 1


async def test_the_oldest_records_make_room_for_the_bytes_of_a_new_one() -> None:
    store = MemoryIdempotencyStore(60, 100, 20_000)
    small = RecordedResponse(200, ((b"location", b"/" + b"x" * 1000),), b"x" * 3000)
    for key in "abc":
        store.put(keyed(key), small)
    store.put(keyed("d"), RecordedResponse(200, (), b"x" * 8000))
    assert [await is_stored(store, key) for key in "abcd"] == [False, True, True, True]
    for _ in range(100):  # a record that replaces its own counts once
        store.put(keyed("d"), small)
    assert [await is_stored(store, key) for key in "abcd"] == [False, True, True, True]


async def test_the_bytes_of_expired_records_are_free() -> None:
    store = MemoryIdempotencyStore(-1, 100, 10_000)
    for _ in range(3):
        store.put(keyed("a"), RecordedResponse(200, (), b"x" * 8000))
        assert await store.clean_up() == 0
    store.put(keyed("b"), RecordedResponse(200, (), b"x" * 4000))
    store.put(keyed("c"), RecordedResponse(200, (), b"x" * 3000))
    assert len(store._records) == 2
