"""Ticks while the clock of the machine is set, and while no process runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from scalekit.contracts import Consumers, Message, MissedPolicy, Tick
from scalekit_queue.schedules.scheduler import Scheduler
from scalekit_queue.service import SERVICE
from tests.queue.harness import LIMIT, serving, wait_until

pytestmark = pytest.mark.anyio
START = 1_800_000_000.0
MINUTE = 60.0


class Clock:
    """The clock of the machine, which stands still until a test sets it."""

    def __init__(self) -> None:
        self._now = START + 1

    def __call__(self) -> float:
        return self._now

    def set(self, minutes: float) -> None:
        """Set it to *minutes* and a moment after the start."""
        self._now = START + minutes * MINUTE + 0.001


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("scalekit_queue.sqlite.schedule_store.time", clock)
    monkeypatch.setattr("scalekit_queue.schedules.scheduler.MAX_WAIT", 0.01)
    return clock


class Minutes:
    """A schedule of every minute, and the minutes since the start that were due."""

    def __init__(self, table: dict[str, Any], missed: MissedPolicy) -> None:
        self.table = table
        self.consumers = Consumers()
        self.due: list[float] = []

        @self.consumers.every("1m", missed=missed, overlap="allow")
        async def work(message: Message[Tick]) -> None:
            self.due.append((message.body.due.timestamp() - START) / MINUTE)

    @asynccontextmanager
    async def served(self) -> AsyncGenerator[Scheduler, None]:
        """Run a process; it has registered the schedule inside the block."""
        async with serving(self.table, self.consumers) as host:
            scheduler = host.context.get(SERVICE).scheduler
            assert scheduler is not None
            async with asyncio.timeout(LIMIT):
                while not (await scheduler.states())[1]:
                    await asyncio.sleep(0.01)
            yield scheduler


@pytest.mark.parametrize(
    ("missed", "expected"),
    [("run_once", [5]), ("run_all", [1, 2, 3, 4, 5]), ("skip", [5])],
)
async def test_ticks_that_were_due_while_no_process_ran_follow_their_policy(
    clock: Clock, sqlite_table: dict[str, Any], missed: MissedPolicy, expected: list[float]
) -> None:
    minutes = Minutes(sqlite_table, missed)
    async with minutes.served():
        pass
    clock.set(5.5)
    async with minutes.served():
        await wait_until(lambda: len(minutes.due) >= len(expected))
        clock.set(6)
        await wait_until(lambda: 6 in minutes.due)
    assert sorted(minutes.due) == [*expected, 6]


async def test_a_clock_that_is_set_neither_repeats_nor_loses_ticks(clock: Clock, sqlite_table: dict[str, Any]) -> None:
    minutes = Minutes(sqlite_table, "run_all")
    async with minutes.served():
        clock.set(3)
        await wait_until(lambda: len(minutes.due) == 3)
        clock.set(1)  # back: the ticks until 3 have been published
        clock.set(4)
        await wait_until(lambda: len(minutes.due) == 4)
        clock.set(90)  # forward
        await wait_until(lambda: len(minutes.due) == 90)
        clock.set(80)
        clock.set(91)
        await wait_until(lambda: len(minutes.due) == 91)
    assert sorted(minutes.due) == list(range(1, 92))


async def test_a_clock_that_was_far_ahead_does_not_stop_a_schedule(clock: Clock, sqlite_table: dict[str, Any]) -> None:
    minutes = Minutes(sqlite_table, "run_once")
    a_year = 365 * 24 * 60
    async with minutes.served() as scheduler:
        clock.set(a_year)
        await wait_until(lambda: minutes.due == [a_year])
        clock.set(10)
        async with asyncio.timeout(LIMIT):
            while (await scheduler.states())[1]["work"].last > (START + a_year) * 1000:
                await asyncio.sleep(0.01)
        clock.set(11)
        await wait_until(lambda: len(minutes.due) == 2)
    assert minutes.due == [a_year, 11]
