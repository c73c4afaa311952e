"""What a shared store promises, on real servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from scalekit.telemetry import Telemetry
from scalekit_caching.codec import MAGIC, ItemCodec
from scalekit_caching.items import Value, digest
from scalekit_caching.local_invalidation import DISCONNECTED_TTL
from scalekit_caching.memory_store import MemoryStore
from scalekit_caching.metrics import CachingMetrics
from scalekit_caching.redis_store import RedisStore
from scalekit_caching.shared_store import LeaseName
from scalekit_caching.tiered_store import TieredStore
from scalekit_caching.value_cache import ValueCache
from scalekit_redis import Connections, RedisUnavailable
from tests.cache.conftest import Shared
from tests.cache.harness import NOON

pytestmark = pytest.mark.anyio

DEADLINE = 10.0
KEYS_AND_ENDS = """\
local told = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  told[#told + 1] = string.match(key, '^[^:]*:[a-z]*') .. ' ' .. redis.call('PTTL', key)
end
return told
"""


class Process:
    """One process' cache of values, all on its own connection."""

    def __init__(self, frames: RedisStore, disconnected_ttl: float = DISCONNECTED_TTL) -> None:
        self.frames = frames
        self.metrics = CachingMetrics(Telemetry(1000), "test")
        self.now = NOON
        self.levels = TieredStore(
            MemoryStore(2**20), frames, ItemCodec(), self.metrics, lambda: self.now, disconnected_ttl=disconnected_ttl
        )
        self.objects = ValueCache(self.levels, self.metrics, lambda: self.now, 30.0)


@asynccontextmanager
async def process(
    url: str, deadline: float = DEADLINE, most_tags: int = 100_000, disconnected_ttl: float = DISCONNECTED_TTL
) -> AsyncGenerator[Process, None]:
    async with Connections(Telemetry(100)).open(url, timeout=deadline) as redis:
        made = Process(RedisStore(redis, "test", most_tags), disconnected_ttl)
        async with made.levels.running():
            yield made


async def test_what_one_process_sets_another_gets_and_what_it_purges_or_deletes_no_other(shared: Shared) -> None:
    async with process(shared.url) as one, process(shared.url) as two:
        await one.objects.set("a", {"x": 1}, "5m", tags=["t", "u"])
        await one.objects.set_many({"b": b"\xff\x00", "c": [None]}, "5m")
        assert await two.objects.get_many(["a", "b", "c", "d"]) == {"a": {"x": 1}, "b": b"\xff\x00", "c": [None]}
        await two.objects.purge(tag="u")
        assert [await each.objects.get("a") for each in (one, two)] == [None, None]
        assert await one.objects.get("b") == b"\xff\x00"
        await one.objects.set("a", 2, "5m", tags=["t"])
        assert await two.objects.get("a") == 2
        await two.objects.delete("a", "b")
        assert await one.objects.get_many(["a", "b"]) == {}


async def test_what_was_purged_while_it_was_made_is_given_to_nobody(shared: Shared) -> None:
    async with process(shared.url) as one, process(shared.url) as two:

        async def make() -> int:
            await two.objects.purge(tag="t")
            return 1

        assert await one.objects.get_or_set("a", 60, make, tags=["t"]) == 1
        assert [await each.objects.get("a") for each in (one, two)] == [None, None]


@pytest.mark.parametrize("loss", ["DEL", "SET"])
async def test_when_the_server_loses_what_was_purged_nothing_with_tags_comes_back(shared: Shared, loss: str) -> None:
    async with process(shared.url) as one, process(shared.url) as two:
        await one.objects.set("a", 1, 60, tags=["t"])
        await one.objects.set("b", 1, 60)
        await two.objects.purge(tag="t")
        shared.cli(loss, "{test}:purges", *(["x"] if loss == "SET" else []))
        assert await one.objects.get_many(["a", "b"]) == {"b": 1}
        await one.objects.set("a", 2, 60, tags=["t"])
        assert await two.objects.get("a") == 2
        await one.objects.purge(tag="t")
        assert await two.objects.get("a") is None


async def test_purges_that_are_no_longer_remembered_still_count_and_the_set_stays_bounded(shared: Shared) -> None:
    async with process(shared.url, most_tags=50) as one, process(shared.url, most_tags=50) as two:
        await one.objects.set("a", 1, 60, tags=["first"])
        await one.objects.set("b", 1, 60)
        await two.objects.purge(tag="first")
        for number in range(60):
            await two.objects.purge(tag=[f"{number}", f"more {number}"])
        assert int(shared.cli("ZCARD", "{test}:purges")) <= 52
        assert await one.objects.get_many(["a", "b"]) == {"b": 1}
        await one.objects.set("c", 1, 60, tags=["first", "59"])
        assert await two.objects.get("c") == 1
        await one.objects.purge(tag="59")
        assert await two.objects.get("c") is None


async def test_a_purge_searches_for_nothing_and_touches_no_item(shared: Shared) -> None:
    async with process(shared.url) as one:
        await one.objects.set_many({f"{number}": number for number in range(200)}, tags=["t"])
        for server in shared.servers:
            server.cli("CONFIG", "RESETSTAT")
        await one.objects.purge(tag=["t", "u"], path="/a/**")
        used = {line for server in shared.servers for line in server.cli("INFO", "commandstats").splitlines()}
        names = {line.removeprefix("cmdstat_").partition(":")[0] for line in used}
        assert {"evalsha", "zadd"} <= names
        assert names.isdisjoint({"keys", "scan", "sscan", "del", "unlink", "get"})


async def test_every_key_ends_by_itself_and_begins_with_the_prefix(shared: Shared) -> None:
    async with process(shared.url) as one:
        await one.objects.set("a", 1, 60, tags=["t"])
        await one.objects.purge(tag="u")
        assert await one.frames.acquire_lease(LeaseName(b"k"), b"1", 60) == (True, None)
        lines = [
            line for server in shared.servers for line in server.cli("EVAL", KEYS_AND_ENDS, 0).splitlines() if line
        ]
        told = [line.split() for line in lines]
        assert sorted(name for name, _ in told) == ["test:item", "test:lease", "{test}:purges"]
        assert all(int(end) > 0 for _, end in told)


async def test_a_lease_has_one_holder_and_only_the_holder_ends_it(shared: Shared) -> None:
    lease = LeaseName(b"k", b"variant")
    async with process(shared.url) as one, process(shared.url) as two:
        tokens = [b"%d" % number for number in range(20)]
        pairs = zip((one, two) * 10, tokens, strict=True)
        asking = [each.frames.acquire_lease(lease, token, 60) for each, token in pairs]
        taken = [token for token, (has, _) in zip(tokens, await asyncio.gather(*asking), strict=True) if has]
        assert len(taken) == 1
        two.frames.release_lease(lease, b"another")
        assert await two.frames.acquire_lease(lease, b"new", 60) == (False, None)
        assert await two.frames.acquire_lease(LeaseName(b"k"), b"new", 60) == (True, None)
        one.frames.release_lease(lease, taken[0])
        assert await one.frames.acquire_lease(lease, b"new", 60) == (True, None)


async def test_a_lease_comes_with_what_is_there_already(shared: Shared) -> None:
    async with process(shared.url) as one, process(shared.url) as two:
        await one.frames.put_many({b"k": b"made"}, [60])
        assert await two.frames.acquire_lease(LeaseName(b"k"), b"1", 60) == (True, b"made")


async def test_a_lease_is_ended_by_a_server_that_has_forgotten_the_script(shared: Shared) -> None:
    async with process(shared.url) as one:
        assert await one.frames.acquire_lease(LeaseName(b"k"), b"1", 60) == (True, None)
        shared.cli("SCRIPT", "FLUSH")
        one.frames.release_lease(LeaseName(b"k"), b"1")

        async def is_free() -> bool:
            return (await one.frames.acquire_lease(LeaseName(b"k"), b"2", 60))[0]

        async with asyncio.timeout(60):
            while not await is_free():
                await asyncio.sleep(0.005)


async def test_what_is_stored_ends_the_lease_in_the_same_step_if_it_is_still_held(shared: Shared) -> None:
    async with process(shared.url) as one, process(shared.url) as two:
        for round_ in range(2):
            lease = LeaseName(b"k", b"variant %d" % round_)
            assert (await one.frames.acquire_lease(lease, b"1", 60))[0]
            await one.frames.start_put_and_release(lease, b"another", b"theirs", 60)
            assert await two.frames.acquire_lease(lease, b"2", 60) == (False, b"theirs")
            await one.frames.start_put_and_release(lease, b"1", b"made %d" % round_, 60)
            assert await two.frames.acquire_lease(lease, b"2", 60) == (True, b"made %d" % round_)
            shared.cli("SCRIPT", "FLUSH")
        assert 0 < int(shared.cli("PTTL", "test:item:k")) <= 60_000


async def test_of_what_one_process_keeps_the_last_stays_though_the_server_has_forgotten_every_script(
    shared: Shared,
) -> None:
    lease = LeaseName(b"k")
    async with process(shared.url) as one:
        shared.cli("SCRIPT", "FLUSH")
        await asyncio.gather(
            one.frames.start_put_and_release(lease, b"1", b"older", 60),
            one.frames.start_put(b"k", b"newer", 60),
        )
        assert await one.frames._redis.get("test:item:k") == b"newer"


async def test_the_lease_of_what_cannot_be_stored_ends_too(shared: Shared) -> None:
    lease = LeaseName(b"k")
    async with process(shared.url) as one:
        assert await one.frames.acquire_lease(lease, b"1", 60) == (True, None)
        shared.cli("CONFIG", "SET", "maxmemory", 1)
        try:
            with pytest.raises(RedisUnavailable, match="OOM"):
                await one.frames.start_put_and_release(lease, b"1", b"made", 60)
        finally:
            shared.cli("CONFIG", "SET", "maxmemory", 0)
        assert await one.frames.acquire_lease(lease, b"2", 60) == (True, None)


async def test_a_key_of_another_in_the_place_of_a_lease_does_not_keep_the_item_away(shared: Shared) -> None:
    async with process(shared.url) as one:
        shared.cli("LPUSH", "test:lease:{test:item:k}", "x")
        await one.frames.start_put_and_release(LeaseName(b"k"), b"1", b"made", 60)
        assert await one.frames._redis.get("test:item:k") == b"made"


async def test_a_key_of_another_in_the_place_of_a_lease_or_an_item_delays_no_other_request(shared: Shared) -> None:
    async with process(shared.url) as one:
        shared.cli("LPUSH", "test:lease:{test:item:k}", "x")
        shared.cli("LPUSH", "test:item:k", "x")
        assert await one.frames.acquire_lease(LeaseName(b"k"), b"1", 60) == (True, None)


async def test_what_is_missing_is_made_once_in_all_processes(shared: Shared) -> None:
    calls = 0

    async def make() -> int:
        nonlocal calls
        calls += 1
        number = calls
        await asyncio.sleep(0.02)
        return number

    async with process(shared.url) as one, process(shared.url) as two:
        asking = [each.objects.get_or_set("a", 60, make) for each in (one, two) for _ in range(20)]
        assert await asyncio.gather(*asking) == [1] * 40
        assert calls == 1


async def test_when_who_makes_fails_one_other_process_makes(shared: Shared) -> None:
    calls = 0

    async def make() -> int:
        nonlocal calls
        calls += 1
        number = calls
        await asyncio.sleep(0.02)
        if number == 1:
            raise ValueError("the first")
        return number

    async with process(shared.url) as one, process(shared.url) as two:
        asking = [each.objects.get_or_set("a", 60, make) for each in (one, two)]
        results = await asyncio.gather(*asking, return_exceptions=True)
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


@pytest.mark.parametrize("frame", HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_hostile_entry_is_missing_counted_and_deleted(shared: Shared, frame: bytes) -> None:
    async with process(shared.url) as one:
        name = digest((b"object", b"a"))
        await one.frames.put_many({name: frame}, [60])
        assert await one.objects.get("a", "missing") == "missing"
        await one.levels.close()
        assert one.metrics.corrupt.value == 1
        assert (await one.frames.get_many([name]))[0] == [None]


async def test_an_entry_of_another_type_is_missing_counted_and_deleted(shared: Shared) -> None:
    async with Connections(Telemetry(100)).open(shared.url, timeout=DEADLINE) as redis, process(shared.url) as one:
        name = digest((b"object", b"a"))
        await redis.call("LPUSH", b"test:item:" + name, "x")
        assert await one.objects.get("a", "missing") == "missing"
        await one.levels.close()
        assert one.metrics.corrupt.value == 1
        await one.objects.set("a", 1, 60)
        assert await one.objects.get("a") == 1
