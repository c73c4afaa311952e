"""The scheduler publishes ticks when they are due, by the policies of their schedules."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from scalekit.contracts import Consumers, Message, Tick
from scalekit.host import Host
from scalekit_queue.schedules.scheduler import Scheduler
from scalekit_queue.schedules.state import ScheduleState
from scalekit_queue.service import SERVICE
from tests.queue.harness import LIMIT, serving, wait_until
from tests.queue.schedules.conftest import Tables

pytestmark = pytest.mark.anyio


def serve(tables: Tables, consumers: Consumers | None = None, **more: Any) -> AbstractAsyncContextManager[Host]:
    others = {name: table for name, table in tables.items() if name != "queue"}
    return serving({**tables["queue"], **more}, consumers, **others)


def scheduler_of(host: Host) -> Scheduler:
    scheduler = host.context.get(SERVICE).scheduler
    assert scheduler is not None
    return scheduler


async def state_of(host: Host, name: str) -> ScheduleState:
    _, states = await scheduler_of(host).states()
    return states[name]


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


async def test_a_handler_may_take_no_message(tables: Tables) -> None:
    consumers = Consumers()
    runs: list[int] = []

    @consumers.every("100ms")
    async def refresh() -> None:
        runs.append(1)

    async with serve(tables, consumers) as host:
        await wait_until(lambda: len(runs) >= 2)
        state = await wait_outcome(host, "refresh", "done")
    assert state.rule == "every 100ms"
    assert state.last > 0
