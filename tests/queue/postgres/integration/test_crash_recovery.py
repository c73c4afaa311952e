"""No message is lost and no effect repeated when server and consumers are killed, and after a failover."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from scalekit import Unavailable
from scalekit.contracts import DATABASE, QUEUE
from scalekit.host import Host
from tests.processes import Box, wait_for
from tests.queue.harness import open_queue_admin, serving
from tests.queue.killed_workers import KilledWorkers
from tests.servers import Postgres, Replica

pytestmark = [pytest.mark.anyio, pytest.mark.needs("postgres")]

MESSAGES = 4_200
"""Enough for every kill to hit messages in flight."""
PUBLISHERS = 16
KILLS = 6
LIMIT = 120.0
TABLE: dict[str, Any] = {"url": "database:", "visibility_timeout": "2s"}


@pytest.fixture
def box() -> Iterator[Box]:
    with Box("workers") as box:
        yield box


@pytest.fixture
def servers() -> Iterator[tuple[Postgres, Replica]]:
    """Yield a primary, and a standby that has every committed transaction."""
    with Postgres() as primary:
        primary.sql("CREATE TABLE effects (number integer)")
        primary.sql("CREATE TABLE orders (number integer PRIMARY KEY)")
        with primary.replica("standby") as standby:
            primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
            primary.sql("SELECT pg_reload_conf()")
            yield primary, standby


async def publish_all(host: Host, progress: Counter[str]) -> None:
    """Publish even numbers as ``plain``, and odd ones as ``once``, half of them with an order in one transaction."""

    async def publish(first: int) -> None:
        for number in range(first, MESSAGES, PUBLISHERS):
            if number % 4 == 1:
                while not await order(host, number):
                    await asyncio.sleep(0.05)
            else:
                name = "once" if number % 2 else "plain"
                await host.context.get(QUEUE).publish(name, number, timeout=LIMIT)
            progress["published"] += 1

    await asyncio.gather(*(publish(first) for first in range(PUBLISHERS)))


async def order(host: Host, number: int) -> bool:
    """Store an order with its message; return whether it is committed, which an attempt without an answer may be."""
    database, queue = host.context.get(DATABASE), host.context.get(QUEUE)
    try:
        async with database.transaction():
            sql = "INSERT INTO orders VALUES (:number) ON CONFLICT DO NOTHING RETURNING number"
            if await database.fetch_val(sql, {"number": number}) is not None:
                await queue.publish_after(database, "once", number)
    except (Unavailable, TimeoutError):
        return False
    return True


async def kill_servers(primary: Postgres, standby: Replica, progress: Counter[str]) -> None:
    """Kill and restart the primary after each part of the messages, then promote the standby instead."""
    for part in range(1, KILLS + 2):
        while progress["published"] < part * MESSAGES / (KILLS + 2):
            await asyncio.sleep(0.01)
        await asyncio.to_thread(primary.kill)
        if part <= KILLS:
            await asyncio.to_thread(primary.start)
        else:
            standby.sql("SELECT pg_promote()")
        progress["kills"] += 1


async def test_no_message_is_lost_and_none_has_its_effect_twice(
    servers: tuple[Postgres, Replica], box: Box, record_property: Any
) -> None:
    primary, standby = servers
    # A commit whose wait for the standby is ended by statement_timeout succeeds, and a failover may lose it.
    pool: dict[str, Any] = {"urls": [primary.url, standby.url], "acquire_timeout": "2s", "statement_timeout": "60s"}
    progress: Counter[str] = Counter()
    stop = asyncio.Event()
    async with serving(TABLE, pool=pool) as host:
        workers = KilledWorkers(box, TABLE, pool)
        killing = asyncio.create_task(workers.kill_periodically(0.5, stop))
        await asyncio.gather(publish_all(host, progress), kill_servers(primary, standby, progress))

        def all_seen() -> bool:
            effects = standby.sql("SELECT count(DISTINCT number) FROM effects")
            return len(workers.seen()) == MESSAGES / 2 == int(effects)

        await asyncio.to_thread(wait_for, "all messages", all_seen, limit=LIMIT)
        stop.set()
        await killing
    async with open_queue_admin({**TABLE, "url": standby.url}) as admin:
        assert [(await admin.depth(name)).dead for name in ("plain", "once")] == [0, 0]

    assert set(workers.seen()) == set(range(0, MESSAGES, 2)), "lost"
    effects = standby.sql("SELECT count(*), count(DISTINCT number), min(number), max(number) FROM effects")
    # A message that publish repeated after an unknown outcome has one id, so its effect is not repeated.
    assert effects == f"{MESSAGES // 2}|{MESSAGES // 2}|1|{MESSAGES - 1}"
    record_property("duplicates", workers.seen().total() - len(workers.seen()))
    assert progress["kills"] == KILLS + 1
    assert workers.killed >= 2
