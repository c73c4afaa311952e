"""The interface of a shared store, on real servers."""

from __future__ import annotations

import asyncio

import pytest

from scalekit.telemetry import Telemetry
from scalekit_caching.codec import MAGIC, ItemCodec
from scalekit_caching.items import Value, digest
from scalekit_caching.shared_store import LeaseName
from scalekit_redis import Connections, RedisUnavailable
from tests.cache.conftest import Shared
from tests.cache.harness import NOON
from tests.lib.caching.redis_processes import DEADLINE, open_process

pytestmark = pytest.mark.anyio
KEYS_AND_ENDS = """\
local lines = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  lines[#lines + 1] = string.match(key, '^[^:]*:[a-z]*') .. ' ' .. redis.call('PTTL', key)
end
return lines
"""


async def test_processes_share_values_purges_and_deletes(shared: Shared) -> None:
    async with open_process(shared.url) as one, open_process(shared.url) as two:
        await one.values.set("a", {"x": 1}, "5m", tags=["t", "u"])
        await one.values.set_many({"b": b"\xff\x00", "c": [None]}, "5m")
        assert await two.values.get_many(["a", "b", "c", "d"]) == {"a": {"x": 1}, "b": b"\xff\x00", "c": [None]}
        await two.values.purge(tag="u")
        assert [await each.values.get("a") for each in (one, two)] == [None, None]
        assert await one.values.get("b") == b"\xff\x00"
        await one.values.set("a", 2, "5m", tags=["t"])
        assert await two.values.get("a") == 2
        await two.values.delete("a", "b")
        assert await one.values.get_many(["a", "b"]) == {}


async def test_a_value_purged_while_it_is_made_is_never_returned(shared: Shared) -> None:
    async with open_process(shared.url) as one, open_process(shared.url) as two:

        async def make() -> int:
            await two.values.purge(tag="t")
            return 1

        assert await one.values.get_or_set("a", 60, make, tags=["t"]) == 1
        assert [await each.values.get("a") for each in (one, two)] == [None, None]


@pytest.mark.parametrize("loss", ["DEL", "SET"])
async def test_when_the_server_loses_tag_versions_no_tagged_item_is_returned(shared: Shared, loss: str) -> None:
    async with open_process(shared.url) as one, open_process(shared.url) as two:
        await one.values.set("a", 1, 60, tags=["t"])
        await one.values.set("b", 1, 60)
        await two.values.purge(tag="t")
        shared.cli(loss, "{test}:purges", *(["x"] if loss == "SET" else []))
        assert await one.values.get_many(["a", "b"]) == {"b": 1}
        await one.values.set("a", 2, 60, tags=["t"])
        assert await two.values.get("a") == 2
        await one.values.purge(tag="t")
        assert await two.values.get("a") is None


async def test_dropped_tag_versions_still_count_and_the_set_is_bounded(shared: Shared) -> None:
    async with open_process(shared.url, max_tags=50) as one, open_process(shared.url, max_tags=50) as two:
        await one.values.set("a", 1, 60, tags=["first"])
        await one.values.set("b", 1, 60)
        await two.values.purge(tag="first")
        for number in range(60):
            await two.values.purge(tag=[f"{number}", f"more {number}"])
        assert int(shared.cli("ZCARD", "{test}:purges")) <= 52
        assert await one.values.get_many(["a", "b"]) == {"b": 1}
        await one.values.set("c", 1, 60, tags=["first", "59"])
        assert await two.values.get("c") == 1
        await one.values.purge(tag="59")
        assert await two.values.get("c") is None


async def test_a_purge_is_one_script_and_touches_no_item(shared: Shared) -> None:
    async with open_process(shared.url) as one:
        await one.values.set_many({f"{number}": number for number in range(200)}, tags=["t"])
        for server in shared.servers:
            server.cli("CONFIG", "RESETSTAT")
        await one.values.purge(tag=["t", "u"], path="/a/**")
        used = {line for server in shared.servers for line in server.cli("INFO", "commandstats").splitlines()}
        names = {line.removeprefix("cmdstat_").partition(":")[0] for line in used}
        assert {"evalsha", "zadd"} <= names
        assert names.isdisjoint({"keys", "scan", "sscan", "del", "unlink", "get"})


async def test_every_key_has_an_expiry_and_the_prefix(shared: Shared) -> None:
    async with open_process(shared.url) as one:
        await one.values.set("a", 1, 60, tags=["t"])
        await one.values.purge(tag="u")
        assert await one.store.acquire_lease(LeaseName(b"k"), b"1", 60) == (True, None)
        lines = [
            line for server in shared.servers for line in server.cli("EVAL", KEYS_AND_ENDS, 0).splitlines() if line
        ]
        fields = [line.split() for line in lines]
        assert sorted(name for name, _ in fields) == ["test:item", "test:lease", "{test}:purges"]
        assert all(int(end) > 0 for _, end in fields)


async def test_a_lease_has_one_holder_and_only_the_holder_releases_it(shared: Shared) -> None:
    lease = LeaseName(b"k", b"variant")
    async with open_process(shared.url) as one, open_process(shared.url) as two:
        tokens = [b"%d" % number for number in range(20)]
        pairs = zip((one, two) * 10, tokens, strict=True)
        pending = [each.store.acquire_lease(lease, token, 60) for each, token in pairs]
        acquired = [token for token, (has, _) in zip(tokens, await asyncio.gather(*pending), strict=True) if has]
        assert len(acquired) == 1
        two.store.release_lease(lease, b"another")
        assert await two.store.acquire_lease(lease, b"new", 60) == (False, None)
        assert await two.store.acquire_lease(LeaseName(b"k"), b"new", 60) == (True, None)
        one.store.release_lease(lease, acquired[0])
        assert await one.store.acquire_lease(lease, b"new", 60) == (True, None)


async def test_acquiring_a_lease_returns_the_existing_item(shared: Shared) -> None:
    async with open_process(shared.url) as one, open_process(shared.url) as two:
        await one.store.put_many({b"k": b"made"}, [60])
        assert await two.store.acquire_lease(LeaseName(b"k"), b"1", 60) == (True, b"made")


async def test_a_lease_is_released_after_a_script_flush(shared: Shared) -> None:
    async with open_process(shared.url) as one:
        assert await one.store.acquire_lease(LeaseName(b"k"), b"1", 60) == (True, None)
        shared.cli("SCRIPT", "FLUSH")
        one.store.release_lease(LeaseName(b"k"), b"1")

        async def is_free() -> bool:
            return (await one.store.acquire_lease(LeaseName(b"k"), b"2", 60))[0]

        async with asyncio.timeout(60):
            while not await is_free():
                await asyncio.sleep(0.005)


async def test_put_and_release_releases_the_lease_only_if_it_is_held(shared: Shared) -> None:
    async with open_process(shared.url) as one, open_process(shared.url) as two:
        for round_ in range(2):
            lease = LeaseName(b"k", b"variant %d" % round_)
            assert (await one.store.acquire_lease(lease, b"1", 60))[0]
            await one.store.start_put_and_release(lease, b"another", b"theirs", 60)
            assert await two.store.acquire_lease(lease, b"2", 60) == (False, b"theirs")
            await one.store.start_put_and_release(lease, b"1", b"made %d" % round_, 60)
            assert await two.store.acquire_lease(lease, b"2", 60) == (True, b"made %d" % round_)
            shared.cli("SCRIPT", "FLUSH")
        assert 0 < int(shared.cli("PTTL", "test:item:k")) <= 60_000


async def test_the_last_write_of_a_process_wins_after_a_script_flush(
    shared: Shared,
) -> None:
    lease = LeaseName(b"k")
    async with open_process(shared.url) as one:
        shared.cli("SCRIPT", "FLUSH")
        await asyncio.gather(
            one.store.start_put_and_release(lease, b"1", b"older", 60),
            one.store.start_put(b"k", b"newer", 60),
        )
        assert await one.store._redis.get("test:item:k") == b"newer"


async def test_the_lease_of_an_item_that_cannot_be_stored_is_released(shared: Shared) -> None:
    lease = LeaseName(b"k")
    async with open_process(shared.url) as one:
        assert await one.store.acquire_lease(lease, b"1", 60) == (True, None)
        shared.cli("CONFIG", "SET", "maxmemory", 1)
        try:
            with pytest.raises(RedisUnavailable, match="OOM"):
                await one.store.start_put_and_release(lease, b"1", b"made", 60)
        finally:
            shared.cli("CONFIG", "SET", "maxmemory", 0)
        assert await one.store.acquire_lease(lease, b"2", 60) == (True, None)


async def test_a_foreign_key_in_the_place_of_a_lease_does_not_hide_the_item(shared: Shared) -> None:
    async with open_process(shared.url) as one:
        shared.cli("LPUSH", "test:lease:{test:item:k}", "x")
        await one.store.start_put_and_release(LeaseName(b"k"), b"1", b"made", 60)
        assert await one.store._redis.get("test:item:k") == b"made"


async def test_a_foreign_key_in_the_place_of_a_lease_or_item_delays_no_request(shared: Shared) -> None:
    async with open_process(shared.url) as one:
        shared.cli("LPUSH", "test:lease:{test:item:k}", "x")
        shared.cli("LPUSH", "test:item:k", "x")
        assert await one.store.acquire_lease(LeaseName(b"k"), b"1", 60) == (True, None)


async def test_a_missing_value_is_made_once_in_all_processes(shared: Shared) -> None:
    calls = 0

    async def make() -> int:
        nonlocal calls
        calls += 1
        number = calls
        await asyncio.sleep(0.02)
        return number

    async with open_process(shared.url) as one, open_process(shared.url) as two:
        pending = [each.values.get_or_set("a", 60, make) for each in (one, two) for _ in range(20)]
        assert await asyncio.gather(*pending) == [1] * 40
        assert calls == 1


async def test_when_the_holder_of_a_lease_fails_another_process_makes_the_value(shared: Shared) -> None:
    calls = 0

    async def make() -> int:
        nonlocal calls
        calls += 1
        number = calls
        await asyncio.sleep(0.02)
        if number == 1:
            raise ValueError("the first")
        return number

    async with open_process(shared.url) as one, open_process(shared.url) as two:
        pending = [each.values.get_or_set("a", 60, make) for each in (one, two)]
        results = await asyncio.gather(*pending, return_exceptions=True)
        assert sorted(map(str, results)) == ["2", "the first"]


OTHER, GOOD = (
    ItemCodec().encode(Value((b"object", key), b"j1", NOON + 60), digest((b"object", key))) for key in (b"other", b"a")
)
HOSTILE = {
    "nothing": b"",
    "noise": b"\x80\x04\x95.",
    "huge": b"\0" * 5_000_000,
    "truncated": GOOD[:-1],
    "another version's": b"SKc9" + GOOD[len(MAGIC) :],
    "another key's": OTHER,
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_corrupt_entry_is_a_miss_counted_and_deleted(shared: Shared, data: bytes) -> None:
    async with open_process(shared.url) as one:
        name = digest((b"object", b"a"))
        await one.store.put_many({name: data}, [60])
        assert await one.values.get("a", "missing") == "missing"
        await one.tiered.close()
        assert one.metrics.corrupt.value == 1
        assert (await one.store.get_many([name]))[0] == [None]


async def test_an_entry_of_another_type_is_a_miss_counted_and_deleted(shared: Shared) -> None:
    async with Connections(Telemetry(100)).open(shared.url, timeout=DEADLINE) as redis, open_process(shared.url) as one:
        name = digest((b"object", b"a"))
        await redis.call("LPUSH", b"test:item:" + name, "x")
        assert await one.values.get("a", "missing") == "missing"
        await one.tiered.close()
        assert one.metrics.corrupt.value == 1
        await one.values.set("a", 1, 60)
        assert await one.values.get("a") == 1
