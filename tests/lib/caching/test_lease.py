"""Leases: one process calls the application for a response that several processes miss."""

from __future__ import annotations

import asyncio

import pytest

from scalekit_caching.shared_store import LeaseName
from tests.cache.harness import Origin, Pairs, Reply
from tests.lib.caching.table_store import Table, new_process, wait_written

pytestmark = pytest.mark.anyio
CC = "Cache-Control"


async def test_concurrent_requests_to_two_processes_call_the_application_once() -> None:
    origin, table = Origin(Reply([(CC, "max-age=60")])), Table()
    origin.gate = asyncio.Event()
    processes = [new_process(table, origin), new_process(table, origin)]
    tasks = [asyncio.create_task(each.fetch()) for each in processes for _ in range(20)]
    while not origin.calls:
        await asyncio.sleep(0)
    origin.gate.set()
    responses = await asyncio.gather(*tasks)
    assert {response.body for response in responses} == {b"1"}
    assert (origin.calls, table.leases) == (1, {})


async def test_when_the_leading_process_fails_another_calls_the_application() -> None:
    origin, table = Origin(Reply(error=ValueError("broken")), Reply([(CC, "max-age=60")])), Table()
    origin.gate = asyncio.Event()
    one, two = new_process(table, origin), new_process(table, origin)
    failing = asyncio.create_task(one.fetch())
    while not origin.calls:
        await asyncio.sleep(0)
    waiting = [asyncio.create_task(two.fetch()) for _ in range(5)]
    origin.gate.set()
    with pytest.raises(ValueError, match="broken"):
        await failing
    assert {response.body for response in await asyncio.gather(*waiting)} == {b"2"}
    assert (origin.calls, table.leases) == (2, {})


class SlowLease(Table):
    """The items of *table* for a process that is slow between its lookup and its lease."""

    def __init__(self, table: Table) -> None:
        self.__dict__ = table.__dict__ | {"looked": asyncio.Event(), "go_on": asyncio.Event()}

    async def acquire_lease(self, lease: LeaseName, token: bytes, ttl: float) -> tuple[bool, bytes | None]:
        self.looked.set()
        await self.go_on.wait()
        return await super().acquire_lease(lease, token, ttl)

    looked: asyncio.Event
    go_on: asyncio.Event


@pytest.mark.parametrize("vary", [(), (("Vary", "Foo"),)])
async def test_the_next_holder_of_a_lease_finds_the_item_of_the_previous_one(vary: Pairs) -> None:
    origin, table = Origin(Reply([(CC, "max-age=60"), *vary])), Table()
    late = SlowLease(table)
    one, two = new_process(table, origin), new_process(late, origin)
    waiting = [asyncio.create_task(two.fetch(headers=[("Foo", "1")])) for _ in range(3)]
    await late.looked.wait()
    assert (await one.fetch(headers=[("Foo", "1")])).body == b"1"
    await wait_written(one)
    late.go_on.set()
    assert {response.body for response in await asyncio.gather(*waiting)} == {b"1"}
    assert (origin.calls, table.leases, two.cache._flights) == (1, {}, {})


async def test_a_request_with_no_cache_gets_a_new_response_in_another_process() -> None:
    origin, table = Origin(Reply([(CC, "max-age=60")])), Table()
    one, two = new_process(table, origin), new_process(table, origin)
    await one.fetch()
    await wait_written(one)
    assert (await two.fetch(headers=[(CC, "no-cache")])).body == b"2"
    await wait_written(two)
    assert table.leases == {}


class LossyTable(Table):
    """A table that may lose writes, and records writes and releases."""

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
async def test_a_lease_is_released_by_the_write_and_separately_only_when_the_write_is_lost(loses: bool) -> None:
    table = LossyTable()
    table.loses = loses
    one = new_process(table, Origin(Reply([(CC, "max-age=60")])))
    await one.fetch()
    await wait_written(one)
    await asyncio.sleep(0)
    assert (len(table.writes), table.leases) == (1, {})
    assert len(table.released) == 1, "by the table, or when the write has failed"


@pytest.mark.parametrize(("headers", "largest"), [([("Vary", "Foo")], 65536), ([], 100)])
async def test_a_lease_is_released_after_a_write_that_cannot_release_it(
    headers: list[tuple[str, str]], largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scalekit_caching.tiered_store.MAX_SCRIPT_ITEM", largest)
    table, origin = LossyTable(), Origin(Reply([(CC, "max-age=60"), *headers]))
    one = new_process(table, origin)
    await one.fetch()
    await wait_written(one)
    await asyncio.sleep(0)
    assert (table.writes, table.leases, len(table.released)) == ([], {}, 1)
    assert (await new_process(table, origin).fetch()).body == b"1"
    assert origin.calls == 1


async def test_a_request_that_waits_for_another_process_can_be_cancelled() -> None:
    origin, table = Origin(Reply([(CC, "max-age=60")])), Table()
    origin.gate = asyncio.Event()
    one, two = new_process(table, origin), new_process(table, origin)
    leading = asyncio.create_task(one.fetch())
    while not origin.calls:
        await asyncio.sleep(0)
    waiting = [asyncio.create_task(two.fetch()) for _ in range(3)]
    while len(two.cache._flights) == 0:
        await asyncio.sleep(0)
    for _ in range(5):
        await asyncio.sleep(0)
    waiting[0].cancel()
    origin.gate.set()
    responses = await asyncio.gather(leading, *waiting, return_exceptions=True)
    assert [getattr(response, "body", None) for response in responses] == [b"1", None, b"1", b"1"]
    assert (two.cache._flights, table.leases) == ({}, {})
