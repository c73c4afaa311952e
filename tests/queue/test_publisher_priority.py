"""Messages with a higher priority are delivered first, on every transport."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from scalekit.contracts import DATABASE, QUEUE, Consumers, Message
from tests.queue.conftest import CLASSIC, POSTGRES, RABBITMQ, Tables
from tests.queue.harness import serving, wait_until

pytestmark = pytest.mark.anyio
Table = dict[str, Any]


@pytest.fixture(params=["sqlite", RABBITMQ, CLASSIC, POSTGRES])
def table(request: pytest.FixtureRequest) -> Table:
    table: Table = request.getfixturevalue(f"{request.param}_table")
    return with_priorities(table)


def with_priorities(table: Table) -> Table:
    return {**table, "queue_type": "classic"} if table["url"].startswith("amqp") else table


async def handled(table: Table, count: int, **plugins: Table) -> list[str]:
    consumers = Consumers()
    seen: list[str] = []

    @consumers.on("resize", concurrency=1, prefetch=3)
    async def resize(message: Message[str]) -> None:
        seen.append(message.body)

    async with serving(table, consumers, **plugins):
        await wait_until(lambda: len(seen) == count)
    return seen


async def test_higher_priorities_are_delivered_first_and_equal_ones_in_order(table: Table) -> None:
    async with serving(table) as host:
        queue = host.context.get(QUEUE)
        for body, priority in (("a", 0), ("b", 1), ("c", 9), ("d", 0), ("e", 9), ("f", 5)):
            await queue.publish("resize", body, priority=priority)
        await queue.publish_many("resize", ["g", "h"], priority=9)
    assert await handled(table, 8) == ["c", "e", "g", "h", "f", "b", "a", "d"]


@pytest.mark.needs("rabbitmq4")
async def test_quorum_queues_of_rabbitmq_4_have_two_priorities(rabbitmq4_table: Table) -> None:
    async with serving(rabbitmq4_table) as host:
        queue = host.context.get(QUEUE)
        for priority in (0, 4, 5, 9, 0, 9):
            await queue.publish("resize", str(priority), priority=priority)
    seen = await handled(rabbitmq4_table, 6)
    assert sorted(seen[:2]) == ["5", "9"], "two messages of the higher priority for each of the lower one"
    assert sorted(seen) == ["0", "0", "4", "5", "9", "9"]


async def test_a_message_of_a_transaction_keeps_its_priority(tables: Tables) -> None:
    if "pool" not in tables:
        tables = {**tables, "pool": {"url": "sqlite:///:memory:"}}
    table, pool = with_priorities(tables["queue"]), tables["pool"]
    async with serving(table, pool=pool) as host:
        queue, database = host.context.get(QUEUE), host.context.get(DATABASE)
        async with database.transaction():
            await queue.publish_after(database, "resize", "a")
            await queue.publish_after(database, "resize", "b", priority=4)
        if not table["url"].startswith("database"):
            await wait_relayed(database)
    assert await handled(table, 2, pool=pool) == ["b", "a"]


async def wait_relayed(database: Any) -> None:
    while await database.fetch_val("SELECT count(*) FROM scalekit_queue_outbox"):
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("priority", [-1, 10, 0.5])
async def test_a_priority_outside_of_the_range_is_rejected(sqlite_table: Table, priority: Any) -> None:
    async with serving(sqlite_table) as host:
        with pytest.raises(ValueError, match="expected a priority from 0 to 9"):
            await host.context.get(QUEUE).publish("resize", 1, priority=priority)
