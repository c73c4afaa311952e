"""Queries in all workers: workers that exit, do not read, or have large results; bounds of their number."""

from __future__ import annotations

import asyncio
from typing import cast

import orjson
import pytest

from scalekit import Unavailable
from scalekit.runner.workers.channel import MAX_MESSAGE_SIZE
from scalekit.runner.workers.worker_process import WorkerProcess
from scalekit.runner.workers.worker_queries import (
    MAX_BACKLOG,
    MAX_QUERIES,
    MAX_RESULT,
    MAX_RESULTS,
    QUERY_ID,
    QueryCoordinator,
    WorkerQueries,
    combine,
)

pytestmark = pytest.mark.anyio


class Worker:
    """A worker as its supervisor sees it; *result* is its response to every query, none when it is None."""

    serves = True

    def __init__(self, slot: str, result: bytes | None = None, backlog: int = 0) -> None:
        self.slot = slot
        self.backlog = backlog
        self.coordinator: QueryCoordinator | None = None
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.queries = 0
        self._result = result

    def send_query(self, query: bytes) -> None:
        self.queries += 1
        if self._result is not None and self.coordinator is not None:
            asyncio.get_running_loop().call_soon(self.coordinator.receive, query[: QUERY_ID.size] + self._result)


def coordinator_of(*workers: Worker) -> QueryCoordinator:
    coordinator = QueryCoordinator(lambda: cast("list[WorkerProcess]", workers))
    for worker in workers:
        worker.coordinator = coordinator
    return coordinator


async def test_a_worker_that_exits_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scalekit.runner.workers.worker_queries.QUERY_TIMEOUT", None)
    exits = Worker("1")
    query = asyncio.ensure_future(coordinator_of(exits, Worker("2", b"[7]")).run_in_all(b"page/x"))
    while not exits.queries:
        await asyncio.sleep(0)
    exits.ended.set_result(-9)
    assert orjson.loads(await query) == {"workers": {"1": None, "2": [7]}}


async def test_no_query_waits_for_a_worker_that_does_not_read() -> None:
    stopped = Worker("1", b"[1]", backlog=MAX_BACKLOG + 1)
    results = await coordinator_of(stopped, Worker("2", b"[2]")).run_in_all(b"page/x")
    assert orjson.loads(results) == {"workers": {"1": None, "2": [2]}}
    assert stopped.queries == 0


async def test_a_slot_is_queried_once_while_its_worker_is_replaced() -> None:
    old, new = Worker("1", b"[1]"), Worker("1", b"[2]")
    assert orjson.loads(await coordinator_of(old, new).run_in_all(b"page/x")) == {"workers": {"1": [2]}}
    assert old.queries == 0


def test_results_of_many_workers_fit_into_a_message() -> None:
    large = b'"%s"' % (b"x" * (MAX_RESULT - 3))
    results = combine({**{str(number): large for number in range(20)}, "20": b"[7]"})
    assert len(results) < MAX_MESSAGE_SIZE
    found = orjson.loads(results)["workers"]
    shown = [number for number, result in found.items() if result is not None]
    assert shown == [*map(str, range(MAX_RESULTS // MAX_RESULT)), "20"]


async def test_queries_are_bounded() -> None:
    queries = WorkerQueries()
    end = asyncio.Event()

    async def wait(argument: bytes) -> bytes:
        await end.wait()
        return b"[1]"

    queries.register(b"page/x", wait)
    running = [asyncio.create_task(queries.run_in_all(b"page/x")) for _ in range(MAX_QUERIES)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="run already"):
        await queries.run_in_all(b"page/x")
    end.set()
    assert set(await asyncio.gather(*running)) == {b'{"workers":{"1":[1]}}'}
    assert await queries.run_in_all(b"page/x") == b'{"workers":{"1":[1]}}'
