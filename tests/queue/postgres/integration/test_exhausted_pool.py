"""Transactions of the application that hold every connection of the pool do not stop the queue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from scalekit.contracts import DATABASE, QUEUE, Consumers, JobState
from scalekit.host import Host
from scalekit_queue.postgres.database import QUEUE_DATABASE
from tests.queue.harness import LIMIT, AnyMessage, serving, wait_until
from tests.queue.jobs.harness import wait_state

pytestmark = [pytest.mark.anyio, pytest.mark.needs("postgres")]

POOL_SIZE = 2
VISIBILITY_TIMEOUT = 0.6
EXTENDED = """
SELECT count(*) FROM scalekit_queue_messages AS message JOIN scalekit_queue_leases AS held ON held.lease = message.lease
WHERE message.id = :id AND held.expires > to_timestamp(:since + 3 * CAST(:timeout AS float8))
"""


@asynccontextmanager
async def exhausted_pool(host: Host) -> AsyncGenerator[None, None]:
    """Hold every connection of the application's pool in a transaction while inside."""
    database = host.context.get(DATABASE)
    release = asyncio.Event()
    held = [asyncio.Event() for _ in range(POOL_SIZE)]

    async def hold(begun: asyncio.Event) -> None:
        async with database.transaction():
            await database.fetch_val("SELECT 1")
            begun.set()
            await release.wait()

    tasks = [asyncio.create_task(hold(each)) for each in held]
    for each in held:
        await each.wait()
    try:
        yield
    finally:
        release.set()
        await asyncio.gather(*tasks)


async def test_messages_are_handled_once_while_transactions_hold_every_connection_for_longer_than_the_lease(
    postgresql_table: dict[str, Any], queue_database: str
) -> None:
    table = {**postgresql_table, "url": "database:", "visibility_timeout": f"{VISIBILITY_TIMEOUT}s"}
    pool = {"url": queue_database, "max_size": POOL_SIZE}
    consumers = Consumers()
    go = asyncio.Event()
    seen: list[str] = []

    @consumers.on("data.created", result_ttl="1h")
    async def take(message: AnyMessage) -> None:
        seen.append(message.id)
        await go.wait()

    async with serving(table, consumers, pool=pool) as host, serving(table, consumers, pool=pool):
        queue, database = host.context.get(QUEUE), host.context.get(QUEUE_DATABASE)
        async with exhausted_pool(host):
            since = await database.fetch_val("SELECT CAST(extract(epoch FROM now()) AS float8)")
            ids = {await queue.publish("data.created", number) for number in range(8)}
            await wait_until(lambda: set(seen) == ids)
            for identifier in ids:
                values = {"id": identifier, "since": since, "timeout": VISIBILITY_TIMEOUT}
                async with asyncio.timeout(LIMIT):
                    while len(seen) == len(ids) and not await database.fetch_val(EXTENDED, values):
                        await asyncio.sleep(0.05)
            go.set()
            for identifier in ids:
                await wait_state(queue, identifier, JobState.SUCCEEDED)
    assert sorted(seen) == sorted(ids)


async def test_publishers_that_wait_for_a_locked_key_leave_connections_to_the_lease(
    postgresql_table: dict[str, Any], queue_database: str
) -> None:
    table = {**postgresql_table, "url": "database:", "max_connections": 3}
    pool = {"url": queue_database}
    consumers = Consumers()
    go = asyncio.Event()
    seen: list[Any] = []

    @consumers.on("data.created")
    async def take(message: AnyMessage) -> None:
        seen.append(message.body)
        if message.body == "same":
            await go.wait()

    async with serving(table, consumers, pool=pool) as host:
        queue, database = host.context.get(QUEUE), host.context.get(DATABASE)
        await queue.publish("data.created", "first", unique_for="1m")
        await wait_until(lambda: seen == ["first"])
        async with database.transaction():
            winner = await queue.publish_after(database, "data.created", "same", unique_for="1m")
            waiting = [
                asyncio.create_task(queue.publish("data.created", "same", unique_for="1m", timeout=LIMIT))
                for _ in range(10)
            ]
            await wait_until(lambda: not any(each.done() for each in waiting))
            await queue.publish("data.created", "other")
            await wait_until(lambda: seen == ["first", "other"])
        assert set(await asyncio.gather(*waiting)) == {winner}
        go.set()
    assert seen == ["first", "other", "same"]
