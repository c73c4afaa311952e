"""Ticks that are due while the database is unavailable are published when it is back, and their delay is measured."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise

import pytest

from scalekit.contracts import Consumers, Message, Tick
from scalekit.host import Host
from scalekit.telemetry import TELEMETRY
from scalekit_queue.metrics import TICK_OVERDUE
from tests.queue.harness import serving, wait_until
from tests.servers import Postgres

pytestmark = [pytest.mark.anyio, pytest.mark.needs("postgres")]


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


def overdue(host: Host) -> float:
    return host.context.get(TELEMETRY).series(TICK_OVERDUE, "work").value


async def test_no_tick_is_lost_while_the_database_is_killed(postgres: Postgres) -> None:
    consumers = Consumers()
    ticks: set[Tick] = set()

    @consumers.every("200ms", missed="run_all", overlap="allow", dedupe=None)
    async def work(message: Message[Tick]) -> None:
        ticks.add(message.body)

    pool = {"url": postgres.url, "acquire_timeout": "500ms"}
    async with serving({"url": "database:", "visibility_timeout": "2s"}, consumers, pool=pool, metrics={}) as host:
        await wait_until(lambda: len(ticks) >= 2)
        await asyncio.to_thread(postgres.kill)
        await wait_until(lambda: overdue(host) > 0.5)
        before = len(ticks)
        await asyncio.to_thread(postgres.start)
        await wait_until(lambda: len(ticks) >= before + 5)
        await wait_until(lambda: overdue(host) < 0.2)
        await wait_until(lambda: is_complete(ticks))


def is_complete(ticks: set[Tick]) -> bool:
    due = sorted(tick.due for tick in ticks)
    return all(later - earlier == timedelta(milliseconds=200) for earlier, later in pairwise(due))
