from __future__ import annotations

import asyncio

import pytest

from scalekit.telemetry import Telemetry
from scalekit_cache import invalidation
from scalekit_cache.invalidation import ANY_TABLE, MAX_TABLES, READS, ReadTracker, SqlInvalidation, track_reads
from scalekit_cache.metrics import PENDING_PURGES, CacheMetrics
from scalekit_caching.memory_store import MemoryStore

pytestmark = pytest.mark.anyio


class Shared(MemoryStore):
    """A store with slow purges, like a shared one."""

    shared = True

    def __init__(self) -> None:
        super().__init__(2**20)
        self.gate = asyncio.Event()

    async def purge(self, tags: object) -> None:
        await self.gate.wait()
        await super().purge(tags)  # type: ignore[arg-type]


def purges_of(store: MemoryStore) -> SqlInvalidation:
    telemetry = Telemetry(100)
    return SqlInvalidation(store, CacheMetrics(telemetry), lambda suspended: None, telemetry.series(PENDING_PURGES))


def test_a_response_made_from_no_table_has_no_tags() -> None:
    assert ReadTracker().tags() == ()


def test_each_table_is_a_tag_and_all_share_one() -> None:
    tables = ReadTracker()
    tables.add(frozenset({"b", "a"}))
    assert tables.tags() == (ANY_TABLE, b"tag:sql:a", b"tag:sql:b")
    assert tables.merge_tags((b"tag:x", b"tag:sql:a")) == (b"tag:x", b"tag:sql:a", ANY_TABLE, b"tag:sql:b")


@pytest.mark.parametrize("more", [None, frozenset(map(str, range(MAX_TABLES)))])
def test_a_response_with_unknown_or_too_many_tables_is_not_stored(more: frozenset[str] | None) -> None:
    tables = ReadTracker()
    tables.add(frozenset({"a"}))
    tables.add(more)
    tables.add(frozenset({"a"}))
    assert tables.tags() is None


async def test_tables_that_a_child_task_reads_are_tags_of_the_response() -> None:
    purges, tables = purges_of(MemoryStore(2**20)), track_reads()
    try:

        async def read() -> None:
            purges.read(frozenset({"a"}))

        await asyncio.create_task(read())
        assert tables.tags() == (ANY_TABLE, b"tag:sql:a")
    finally:
        READS.set(None)
    purges.read(frozenset({"b"}))
    assert b"tag:sql:b" not in (tables.tags() or ())


async def test_cancelling_a_write_does_not_cancel_its_purge() -> None:
    store = Shared()
    purges = purges_of(store)
    async with purges.running():
        writing = asyncio.create_task(purges.wrote(frozenset({"a"})))
        while not purges._purges:
            await asyncio.sleep(0)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        store.gate.set()
    assert store.purged_since((b"tag:sql:a",), 0)
    assert not store.purged_since((ANY_TABLE,), 0)


async def test_undecided_tables_are_purged_until_the_write_must_be_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invalidation, "UNDECIDED_INTERVAL", 0.01)
    monkeypatch.setattr(invalidation, "UNDECIDED_TTL", 0.1)
    store = MemoryStore(2**20)
    purges = purges_of(store)
    async with purges.running():
        purges.may_have_written(None)
        async with asyncio.timeout(60):
            while purges._undecided_task is None or not purges._undecided_task.done():
                await asyncio.sleep(0.01)
    assert store.version > 1
    assert store.purged_since((ANY_TABLE,), store.version - 1)
