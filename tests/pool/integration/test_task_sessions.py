"""A session belongs to the task that opened it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator

import pytest

from scalekit_pool.database import PooledDatabase
from tests.pool.conftest import POSTGRES
from tests.pool.harness import wait_until, wait_until_released
from tests.pool.schema import ITEMS, create, names, put

pytestmark = pytest.mark.anyio


@pytest.fixture
async def items(database: PooledDatabase) -> AsyncGenerator[PooledDatabase, None]:
    await create(database, ITEMS)
    yield database
    await wait_until_released(database)


async def test_an_open_transaction_is_rolled_back_when_its_task_ends(items: PooledDatabase) -> None:
    async def forget() -> None:
        await items.transaction()
        await put(items, "a")

    await asyncio.create_task(forget())
    await wait_until_released(items)
    assert await names(items) == []
    assert items._sessions == {}


@pytest.mark.parametrize("url", ["file", POSTGRES], indirect=True)
async def test_a_child_task_is_not_in_the_transaction_of_its_parent(items: PooledDatabase) -> None:
    async def child() -> list[str]:
        return await names(items)

    async with items.transaction():
        await put(items, "a")
        assert await asyncio.create_task(child()) == []
        assert await names(items) == ["a"]
    assert await asyncio.create_task(child()) == ["a"]


@pytest.mark.parametrize("url", ["file", POSTGRES], indirect=True)
async def test_a_session_shared_by_tasks_runs_one_statement_at_a_time(
    items: PooledDatabase,
) -> None:
    async with items.connection() as connection, connection.transaction():
        await asyncio.gather(*(put(connection, name) for name in "abcdefgh"))
        assert await names(connection) == list("abcdefgh")
    shared = items.connection()

    async def use() -> int:
        async with shared:
            return int(await shared.fetch_val("SELECT count(*) FROM items"))

    assert await asyncio.gather(*(use() for _ in range(3))) == [8, 8, 8]


@pytest.mark.parametrize("url", [POSTGRES], indirect=True)
async def test_a_task_uses_its_first_connection_again(items: PooledDatabase) -> None:
    first, second = items.connection(), items.connection()
    async with first:
        async with second:
            assert items.session() is first
        assert items.session() is first
    async with second:
        assert items.session() is second
    assert items._sessions == {}


async def test_an_abandoned_generator_releases_its_connection(items: PooledDatabase) -> None:
    await items.insert_many(ITEMS, [{"id": number, "name": f"n{number:03}"} for number in range(300)])
    rows = items.iterate("SELECT id FROM items")
    await anext(rows)
    del rows
    gc.collect()
    await wait_until(lambda: items.driver.readers.idle == items.driver.readers.supplier.size)
