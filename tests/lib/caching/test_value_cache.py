"""Values of applications, and purges of values and responses."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit_cache.policies import CachePolicy
from scalekit_caching.items import Value
from scalekit_caching.memory_store import MemoryStore
from scalekit_caching.tag_versions import MAX_TAGS
from tests.cache.harness import CacheHarness, Origin, Reply

pytestmark = pytest.mark.anyio

json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(json | st.binary(max_size=20))
def test_a_value_is_returned_unchanged(value: object) -> None:
    async def once() -> None:
        values = CacheHarness(Origin()).values
        await values.set("k", value, 60)
        assert await values.get("k", "nothing") == value

    asyncio.run(once())


async def test_a_value_expires_after_its_ttl() -> None:
    harness = CacheHarness(Origin())
    values = harness.values
    await values.set("a", 1, "5m")
    await values.set_many({"b": 2, "c": 3}, 10)
    assert await values.get_many(["a", "b", "c", "d"]) == {"a": 1, "b": 2, "c": 3}
    harness.pass_time(10)
    assert await values.get_many(["a", "b", "c", "d"]) == {"a": 1}
    assert await values.get("b", "missing") == "missing"
    await values.delete("a", "nothing")
    assert await values.get("a") is None


@pytest.mark.parametrize("change", ["delete", "set", "set many"])
async def test_a_value_made_from_older_data_does_not_overwrite_a_newer_one(change: str) -> None:
    async def make() -> str:
        found = data[-1]
        started.release()
        await go_on.wait()
        return found

    values = CacheHarness(Origin()).values
    data, started, go_on = ["old"], asyncio.Semaphore(0), asyncio.Event()
    early = asyncio.create_task(values.get_or_set("k", 60, make))
    other = asyncio.create_task(values.get_or_set("other", 60, make))
    for _ in range(2):
        await started.acquire()
    data.append("new")
    if change == "delete":
        await values.delete("k")
    elif change == "set":
        await values.set("k", "new", 60)
    else:
        await values.set_many({"k": "new"}, 60)
    late = asyncio.create_task(values.get_or_set("k", 60, make))
    await asyncio.sleep(0)
    go_on.set()
    assert [await each for each in (early, other, late)] == ["old", "old", "new"]
    assert await values.get_many(["k", "other"]) == {"k": "new", "other": "old"}
    assert not values._locks
    assert not values._pending


async def test_a_value_above_the_maximum_size_is_returned_and_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scalekit_caching.value_cache.MAX_VALUE", 100)
    values = CacheHarness(Origin()).values

    async def make() -> bytes:
        made.append(None)
        return bytes(100)

    made: list[None] = []
    with pytest.raises(ValueError, match="the value of 'large' has 101 bytes, more than 100"):
        await values.set("large", bytes(100), 60)
    for _ in range(2):
        assert await values.get_or_set("large", 60, make) == bytes(100)
    assert len(made) == 2
    await values.set("small", bytes(99), 60)
    assert await values.get("small") == bytes(99)


async def test_an_invalid_ttl_value_or_key_is_refused() -> None:
    values = CacheHarness(Origin()).values
    with pytest.raises(ValueError, match="duration such as"):
        await values.set("a", 1, "5 minutes")
    with pytest.raises(ValueError, match="positive duration such as"):
        await values.set("a", 1, 0)
    with pytest.raises(ValueError, match="JSON cannot represent the value"):
        await values.set("a", object(), 5)
    with pytest.raises(ValueError, match="1 to 1024 bytes"):
        await values.set("a" * 1025, 1, 5)
    with pytest.raises(ValueError, match="nothing to purge"):
        await values.purge()
    with pytest.raises(ValueError, match="put a slash before it"):
        await values.purge(path="shop")


async def test_concurrent_requests_for_a_missing_value_make_it_once() -> None:
    values = CacheHarness(Origin()).values
    calls = 0

    async def make() -> int:
        nonlocal calls
        calls += 1
        number = calls
        await asyncio.sleep(0)
        return number

    assert await asyncio.gather(*[values.get_or_set("a", 60, make) for _ in range(50)]) == [1] * 50
    assert await values.get_or_set("b", 60, make) == 2
    assert values._locks == {}


async def test_when_making_a_value_fails_the_next_caller_makes_it() -> None:
    values = CacheHarness(Origin()).values
    calls = 0

    async def make() -> int:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0)
        if calls == 1:
            raise ValueError("the first")
        return calls

    results = await asyncio.gather(*[values.get_or_set("a", 60, make) for _ in range(5)], return_exceptions=True)
    assert isinstance(results[0], ValueError)
    assert results[1:] == [2] * 4


async def test_the_caller_that_makes_a_value_can_be_cancelled() -> None:
    values = CacheHarness(Origin()).values
    started = asyncio.Event()

    async def forever() -> int:
        started.set()
        await asyncio.Event().wait()
        return 0

    async def make() -> int:
        return 7

    first = asyncio.create_task(values.get_or_set("a", 60, forever))
    await started.wait()
    second = asyncio.create_task(values.get_or_set("a", 60, make))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == 7
    assert values._locks == {}


async def test_a_value_that_cannot_be_decoded_is_a_miss_counted_and_deleted() -> None:
    harness = CacheHarness(Origin())
    key = (b"object", b"a")
    for frame in (b"", b"x", b"j{", b"j\xff\xfe", b"\x80\x04\x95\x00.", b"jnull,"):
        harness.store.put(Value(key, frame, harness.now + 60))
        assert await harness.values.get("a") is None
        assert harness.store.peek(key) is None
    assert harness.metrics.corrupt.value == 6


async def test_a_purge_of_a_tag_removes_values_and_responses_at_once() -> None:
    harness = CacheHarness(
        origin := Origin(Reply()), [("/a/**", CachePolicy(ttl=60.0, tags=(b"tag:t",))), ("/**", CachePolicy(ttl=60.0))]
    )
    await harness.values.set("tagged", 1, 60, tags=["t", "u"])
    await harness.values.set("other", 1, 60, tags=["u"])
    for target in ("/a/1", "/a/2", "/b"):
        await harness.fetch(target)
    await harness.values.purge(tag="t")
    assert await harness.values.get_many(["tagged", "other"]) == {"other": 1}
    for target in ("/a/1", "/a/2", "/b"):
        await harness.fetch(target)
    assert origin.calls == 5


@pytest.mark.parametrize(
    ("path", "purged"),
    [("/shop", ["/shop"]), ("/shop/*", ["/shop/1"]), ("/shop/**", ["/shop", "/shop/1", "/shop/1/x?y=1"]),
     ("/*", ["/shop", "/shopping"]), ("/**", ["/shop", "/shop/1", "/shop/1/x?y=1", "/shopping"]),
     ("/shop/1/x", ["/shop/1/x?y=1"]), ("/nothing", [])],
)  # fmt: skip
async def test_a_purge_of_a_path_removes_its_responses_and_those_below_it(path: str, purged: list[str]) -> None:
    harness = CacheHarness(origin := Origin(Reply([("Cache-Control", "max-age=60")])))
    targets = ["/shop", "/shop/1", "/shop/1/x?y=1", "/shopping"]
    before = {target: (await harness.fetch(target)).body for target in targets}
    await harness.values.purge(path=path)
    after = {target: (await harness.fetch(target)).body for target in targets}
    assert [target for target in targets if before[target] != after[target]] == purged
    assert origin.calls == 4 + len(purged)


async def test_a_value_purged_while_it_is_made_is_not_stored() -> None:
    harness = CacheHarness(origin := Origin(Reply([("Cache-Control", "max-age=60")])))
    origin.gate = asyncio.Event()
    task = asyncio.create_task(harness.fetch("/a"))
    while not origin.calls:
        await asyncio.sleep(0)
    await harness.values.purge(path="/a")
    origin.gate.set()
    assert (await task).body == b"1"
    assert (await harness.fetch("/a")).body == b"2"

    async def make() -> int:
        await harness.values.purge(tag="t")
        return 1

    await harness.values.get_or_set("v", 60, make, tags=["t"])
    assert await harness.values.get("v") is None


async def test_dropped_tag_versions_still_count() -> None:
    store = MemoryStore(2**20)
    store.put(Value((b"object", b"a"), b"j1", 9e9, (b"tag:first",), store.version))
    store.put(Value((b"object", b"b"), b"j1", 9e9, (), store.version))
    await store.purge([b"tag:first"])
    for number in range(MAX_TAGS):
        await store.purge([b"tag:%d" % number])
    assert len(store.tag_versions._purged) == MAX_TAGS
    assert store.peek((b"object", b"a")) is None
    assert store.peek((b"object", b"b")) is not None
    store.put(Value((b"object", b"c"), b"j1", 9e9, (b"tag:first",), store.version))
    assert store.peek((b"object", b"c")) is not None
