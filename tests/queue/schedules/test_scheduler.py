"""The scheduler publishes ticks when they are due, by the policies of their schedules."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from scalekit.contracts import DATABASE, QUEUE, Consumers, Message, Tick
from scalekit.host import Host
from scalekit.testing import request
from scalekit_queue.schedules.description import describe_schedules
from scalekit_queue.schedules.scheduler import Scheduler
from scalekit_queue.schedules.state import ScheduleState, StateChange, Update
from scalekit_queue.service import SERVICE
from scalekit_queue.sqlite.schedule_store import FileScheduleStore
from tests.queue.conftest import Tables
from tests.queue.harness import LIMIT, serving, wait_until
from tests.servers import Postgres

pytestmark = pytest.mark.anyio


def serve(tables: Tables, consumers: Consumers | None = None, **more: Any) -> AbstractAsyncContextManager[Host]:
    others = {name: table for name, table in tables.items() if name != "queue"}
    return serving({**tables["queue"], **more}, consumers, **others)


@pytest.fixture
def file(sqlite_table: dict[str, Any]) -> Tables:
    return {"queue": sqlite_table}


def scheduler_of(host: Host) -> Scheduler:
    scheduler = host.context.get(SERVICE).scheduler
    assert scheduler is not None
    return scheduler


async def state_of(host: Host, name: str) -> ScheduleState:
    _, states = await scheduler_of(host).states()
    return states.get(name, ScheduleState(name))


async def wait_outcome(host: Host, name: str, outcome: str) -> ScheduleState:
    async with asyncio.timeout(LIMIT):
        while (state := await state_of(host, name)).outcome != outcome or (outcome != "running" and state.running):
            await asyncio.sleep(0.01)
    return state


async def test_a_handler_runs_at_every_multiple_of_its_period(tables: Tables) -> None:
    consumers = Consumers()
    seen: list[Message[Tick]] = []

    @consumers.every("200ms", overlap="allow", missed="run_all")
    async def refresh(message: Message[Tick]) -> None:
        seen.append(message)

    async with serve(tables, consumers):
        await wait_until(lambda: len(seen) >= 4)
    ticks = sorted(message.body.due for message in seen)[:4]
    assert [later - earlier for earlier, later in pairwise(ticks)] == [timedelta(seconds=0.2)] * 3
    assert not ticks[0].microsecond % 200_000
    first = min(seen, key=lambda message: message.body.due)
    assert first.name == first.body.schedule == "refresh"
    prefix = tables["queue"].get("prefix", "")
    assert first.id == f"{prefix}refresh@{first.body.due.isoformat(timespec='milliseconds').replace('+00:00', 'Z')}"


async def test_a_handler_may_take_no_message(file: Tables) -> None:
    consumers = Consumers()
    runs: list[int] = []

    @consumers.every("100ms")
    async def refresh() -> None:
        runs.append(1)

    async with serve(file, consumers) as host:
        await wait_until(lambda: len(runs) >= 2)
        state = await wait_outcome(host, "refresh", "done")
    assert state.rule == "every 100ms"
    assert state.last > 0


async def test_a_cancelled_run_has_ended(file: Tables) -> None:
    consumers = Consumers()
    runs: list[str] = []

    @consumers.every("100ms", result_ttl="1h")
    async def refresh(message: Message[Tick]) -> None:
        runs.append(message.id)
        await asyncio.Event().wait()

    async with serve(file, consumers) as host:
        await wait_until(lambda: runs)
        queue = host.context.get(QUEUE)
        async with asyncio.timeout(LIMIT):
            while not await queue.cancel(runs[0]):
                await asyncio.sleep(0.01)
        await wait_until(lambda: len(runs) >= 2)


async def test_a_schedule_that_cannot_be_stored_does_not_delay_others(
    file: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    consumers = Consumers()
    runs: list[int] = []
    change = FileScheduleStore.change

    async def fail(self: FileScheduleStore, name: str, update: Update) -> StateChange:
        if name == "locked":
            raise TimeoutError
        return await change(self, name, update)

    @consumers.every("100ms")
    async def locked() -> None:
        raise AssertionError

    @consumers.every("100ms")
    async def refresh() -> None:
        runs.append(1)

    monkeypatch.setattr(FileScheduleStore, "change", fail)
    monkeypatch.setattr("scalekit_queue.schedules.scheduler.ERROR_DELAY", 0.1)
    async with serve(file, consumers):
        await wait_until(lambda: len(runs) >= 2)


async def test_two_instances_publish_each_tick_once(tables: Tables) -> None:
    seen: list[list[Tick]] = [[], []]

    def consumers_of(instance: int) -> Consumers:
        consumers = Consumers()

        @consumers.every("100ms", overlap="allow", missed="run_all")
        async def refresh(message: Message[Tick]) -> None:
            seen[instance].append(message.body)

        return consumers

    async with serve(tables, consumers_of(0)), serve(tables, consumers_of(1)):
        await wait_until(lambda: len(seen[0]) + len(seen[1]) >= 12)
    ticks = sorted(tick.due for tick in seen[0] + seen[1])
    assert {later - earlier for earlier, later in pairwise(ticks[:12])} == {timedelta(milliseconds=100)}


async def test_no_tick_is_published_during_the_run_before(file: Tables) -> None:
    consumers = Consumers()
    runs: list[str] = []
    release = asyncio.Event()

    @consumers.every("100ms")
    async def refresh() -> None:
        runs.append("begin")
        await release.wait()
        runs.append("end")

    async with serve(file, consumers) as host:
        await wait_until(lambda: runs)
        before = (await state_of(host, "refresh")).last
        async with asyncio.timeout(LIMIT):
            while (await state_of(host, "refresh")).last < before + 500:
                await asyncio.sleep(0.01)
        assert runs == ["begin"]
        release.set()
        await wait_until(lambda: len(runs) >= 4)
    assert runs[:4] == ["begin", "end", "begin", "end"]


async def test_queued_ticks_run_one_after_the_other_and_none_is_dropped(
    file: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scalekit_queue.schedules.scheduler.QUEUED_INTERVAL", 3600.0)  # the end of a run suffices
    consumers = Consumers()
    running: list[int] = []
    ticks: list[Tick] = []

    @consumers.every("100ms", overlap="queue", missed="run_all")
    async def refresh(message: Message[Tick]) -> None:
        assert not running
        running.append(1)
        await asyncio.sleep(0.15)
        running.clear()
        ticks.append(message.body)

    async with serve(file, consumers):
        await wait_until(lambda: len(ticks) >= 4)
    assert [later.due - earlier.due for earlier, later in pairwise(ticks[:4])] == [timedelta(milliseconds=100)] * 3


async def test_a_pause_outlives_a_restart_and_a_trigger_ignores_it(file: Tables) -> None:
    consumers = Consumers()
    runs: list[int] = []

    @consumers.every("100ms")
    async def refresh() -> None:
        runs.append(1)

    async with serve(file, consumers) as host:
        await wait_until(lambda: runs)
        await scheduler_of(host).pause("refresh")
        await wait_outcome(host, "refresh", "done")
    runs.clear()
    async with serve(file, consumers) as host:
        await scheduler_of(host).trigger("refresh")
        state = await wait_outcome(host, "refresh", "done")
        assert state.paused
        assert state.published > state.last, "the trigger has published, and no tick since the pause"
        assert runs == [1]
        await scheduler_of(host).resume("refresh")
        await wait_until(lambda: len(runs) >= 3)


async def test_a_failed_run_is_recorded_and_the_schedule_continues(file: Tables) -> None:
    consumers = Consumers()
    attempts: list[Tick] = []

    @consumers.every("100ms", retry=["10ms"])
    async def refresh(message: Message[Tick]) -> None:
        attempts.append(message.body)
        if message.body == attempts[0]:
            raise ValueError("broken")

    async with serve({**file, "metrics": {}}, consumers) as host:
        await wait_until(lambda: len(set(attempts)) >= 2)
        await wait_outcome(host, "refresh", "done")
        text = (await request(host, "/metrics", state=dict(host.state))).body.decode()
    assert attempts[0] == attempts[1] != attempts[2]
    assert 'scalekit_queue_ticks_failed_total{schedule="refresh"} 1\n' in text
    assert 'scalekit_queue_ticks_missed_total{schedule="refresh"}' in text, "it begins at zero, without a missed tick"
    assert 'scalekit_queue_tick_overdue_seconds{schedule="refresh"}' in text


async def test_the_file_adds_schedules_and_replaces_rules(sqlite_table: dict[str, Any]) -> None:
    consumers = Consumers()
    seen: list[Message[Any]] = []

    @consumers.every("7d", name="refresh")
    async def refresh() -> None: ...

    @consumers.on("report.requested")
    async def report(message: Message[dict[str, str]]) -> None:
        seen.append(message)

    schedules = [
        {"name": "refresh", "cron": "0 3 * * *", "tz": "Europe/Berlin"},
        {"name": "reports", "every": "100ms", "message": "report.requested", "body": {"kind": "daily"}},
    ]
    async with serve({"queue": sqlite_table}, consumers, schedules=schedules) as host:
        await wait_until(lambda: len(seen) >= 2)
        state = await wait_outcome(host, "reports", "done")
        assert (await state_of(host, "refresh")).rule == "cron 0 3 * * * Europe/Berlin"
    assert {message.body["kind"] for message in seen} == {"daily"}
    assert seen[0].id.startswith("reports@")
    assert state.name == "reports"


async def test_a_removed_schedule_is_listed_as_undeclared_and_a_changed_one_follows(
    sqlite_table: dict[str, Any],
) -> None:
    def declare(*names: str, period: str = "7d") -> Consumers:
        consumers = Consumers()

        async def handler() -> None: ...

        for name in names:
            consumers.every(period, name=name)(handler)
        return consumers

    async def wait_described(host: Host, expected: dict[str, tuple[str, str]]) -> None:
        async with asyncio.timeout(LIMIT):
            while True:
                found = await describe_schedules(scheduler_of(host))
                if {each.name: (each.rule, each.state) for each in found} == expected and found[0].next:
                    return
                await asyncio.sleep(0.01)

    tables = {"queue": sqlite_table}
    async with serve(tables, declare("one", "two")) as host:
        await wait_described(host, {"one": ("every 7d", "active"), "two": ("every 7d", "active")})
    async with serve(tables, declare("one", period="8d")) as host:
        await wait_described(host, {"one": ("every 8d", "active"), "two": ("every 7d", "undeclared")})
        with pytest.raises(ValueError, match="no schedule 'two'; expected one"):
            await scheduler_of(host).pause("two")


@pytest.mark.needs("postgres")
async def test_handlers_of_schedules_deduplicate_by_default_with_postgresql(
    sqlite_table: dict[str, Any], shared_postgres: Postgres, tmp_path: Path
) -> None:
    async def handler() -> None: ...

    async def names_in_inbox(url: str) -> set[str]:
        consumers = Consumers()
        consumers.every("100ms", name="default")(handler)
        consumers.every("100ms", name="never", dedupe=None)(handler)
        consumers.every("100ms", name="always", dedupe="1h")(handler)
        queue = {**sqlite_table, "url": f"sqlite:///{tmp_path}/{url.partition(':')[0]}.db"}
        async with serve({"queue": queue, "pool": {"url": url}}, consumers) as host:
            for name in ("default", "never", "always"):
                await wait_outcome(host, name, "done")
            rows = await host.context.get(DATABASE).fetch_all("SELECT DISTINCT name FROM scalekit_queue_inbox")
        return {row[0] for row in rows}

    shared_postgres.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    assert await names_in_inbox(shared_postgres.url) == {"default", "always"}
    assert await names_in_inbox(f"sqlite:///{tmp_path}/shop.db") == {"always"}
