from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from scalekit import Unavailable
from scalekit_pool import insert_batcher
from scalekit_pool.database import PooledDatabase
from tests.pool.conftest import ORM, POSTGRES
from tests.pool.harness import opened, wait_until, wait_until_released
from tests.pool.schema import DUPLICATE, ITEMS, create, names, numbered

pytestmark = pytest.mark.anyio


@pytest.fixture
async def items(database: PooledDatabase) -> AsyncGenerator[PooledDatabase, None]:
    await create(database, ITEMS)
    yield database
    await wait_until_released(database)


async def test_rows_of_many_tasks_are_batched_and_each_gets_its_key(items: PooledDatabase) -> None:
    wrong = {"id": 3, "name": "n3 again"}
    rows = [*numbered(*range(300)), wrong, {"id": 300, "name": None}]
    results = await asyncio.gather(*(items.insert_soon(ITEMS, row) for row in rows), return_exceptions=True)
    assert results[:300] == list(range(300))
    assert all(isinstance(result, Exception) for result in results[300:])
    assert re.search(DUPLICATE, str(results[300]))
    assert "null" in str(results[301]).lower()
    assert await items.fetch_val("SELECT count(*) FROM items") == 300


async def test_rows_without_a_key_and_with_other_columns_are_inserted(items: PooledDatabase) -> None:
    results = await asyncio.gather(
        *(items.insert_soon("items", row) for row in numbered(1, 2, 3)),
        *(items.insert_soon(ITEMS, {"name": f"m{n}", "id": 10 + n, "price": n}) for n in range(3)),
    )
    assert results == [None, None, None, 10, 11, 12]
    assert await items.fetch_val("SELECT count(*) FROM items") == 6


async def test_rows_inserted_soon_in_a_transaction_are_part_of_it(items: PooledDatabase) -> None:
    with pytest.raises(KeyError):  # noqa: PT012
        async with items.transaction():
            assert await items.insert_soon(ITEMS, {"id": 1, "name": "a"}) == 1
            assert await names(items) == ["a"]
            raise KeyError
    assert await names(items) == []


async def test_rows_inserted_soon_on_an_own_connection_are_inserted_at_once(url: str) -> None:
    async with opened(url, max_size=1) as database:
        await create(database, ITEMS)
        async with database.connection() as connection:
            await connection.execute("DELETE FROM items")  # on SQLite it holds the only writer from now on
            assert await database.insert_soon(ITEMS, {"id": 1, "name": "a"}) == 1
        assert await names(database) == ["a"]


@pytest.mark.parametrize("url", ORM, indirect=True)
async def test_a_session_that_holds_the_only_connection_refuses_rows_inserted_soon(url: str) -> None:
    async with opened(url, max_size=1) as database:
        await create(database, ITEMS)
        async with database.sessions() as session:
            await session.execute(ITEMS.delete())
            with pytest.raises(RuntimeError, match="already holds 1 of 1 connections"):
                await database.insert_soon(ITEMS, {"id": 1, "name": "a"})
            await session.commit()
            assert await database.insert_soon(ITEMS, {"id": 1, "name": "a"}) == 1
        assert await names(database) == ["a"]


async def test_cancelling_a_waiting_row_does_not_affect_other_rows(items: PooledDatabase) -> None:
    for waits in range(8):
        first = 100 * waits
        tasks = [asyncio.create_task(items.insert_soon(ITEMS, row)) for row in numbered(*range(first, first + 60))]
        for _ in range(waits):
            await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert results[1::2] == list(range(first + 1, first + 60, 2))
    await wait_until_released(items)
    assert await items.fetch_val("SELECT count(*) FROM items WHERE id % 2 = 1") == 240


async def test_pending_rows_are_bounded(items: PooledDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(insert_batcher, "MAX_PENDING_ROWS", 10)
    async with asyncio.TaskGroup() as group:
        release = asyncio.Event()
        limit = items.driver.writers.limits.max_size
        for _ in range(limit):
            group.create_task(hold(items, release))
        await wait_until(lambda: items.driver.writers.supplier.size == limit and not items.driver.writers.idle)
        tasks = [asyncio.create_task(items.insert_soon(ITEMS, row)) for row in numbered(*range(13))]
        await wait_until(lambda: sum(task.done() for task in tasks) >= 2)
        release.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    refused = [result for result in results if isinstance(result, Unavailable)]
    assert len(refused) in (2, 3)
    assert "are waiting for insertion into items" in str(refused[0])
    assert [result for result in results if isinstance(result, int)] == list(range(13 - len(refused)))


async def test_rows_of_cancelled_callers_do_not_count(items: PooledDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(insert_batcher, "MAX_PENDING_ROWS", 10)
    async with asyncio.TaskGroup() as group:
        release = asyncio.Event()
        limit = items.driver.writers.limits.max_size
        for _ in range(limit):
            group.create_task(hold(items, release))
        await wait_until(lambda: items.driver.writers.supplier.size == limit and not items.driver.writers.idle)
        first = asyncio.create_task(items.insert_soon(ITEMS, {"id": 0, "name": "first"}))
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # its statement waits for a connection, and later rows wait for the statement
        cancelled = [asyncio.create_task(items.insert_soon(ITEMS, row)) for row in numbered(*range(1, 11))]
        await asyncio.sleep(0)
        for task in cancelled:
            task.cancel()
        await asyncio.wait(cancelled)
        last = asyncio.create_task(items.insert_soon(ITEMS, {"id": 11, "name": "last"}))
        await asyncio.sleep(0)
        release.set()
    assert await first == 0
    assert await last == 11
    assert await items.fetch_val("SELECT count(*) FROM items") == 2


async def hold(database: PooledDatabase, release: asyncio.Event) -> None:
    async with database.connection():
        await release.wait()


@pytest.mark.parametrize("url", ["file", POSTGRES], indirect=True)
async def test_pending_rows_are_inserted_before_the_database_closes(url: str) -> None:
    async with opened(url) as database:
        await create(database, ITEMS)
        tasks = [asyncio.create_task(database.insert_soon(ITEMS, row)) for row in numbered(*range(50))]
        await asyncio.sleep(0)
    assert await asyncio.gather(*tasks) == list(range(50))
    async with opened(url) as database:
        assert await database.fetch_val("SELECT count(*) FROM items") == 50


@pytest.mark.parametrize("url", ["file", "memory", POSTGRES], indirect=True)  # a trigger of MySQL cannot skip a row
async def test_a_row_skipped_by_a_trigger_has_no_key(items: PooledDatabase) -> None:
    if items.dialect == "postgresql":
        await items.execute(
            "CREATE FUNCTION leave_out() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN IF NEW.id = 2 THEN RETURN NULL; END IF; RETURN NEW; END $$"
        )
        await items.execute("CREATE TRIGGER t BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION leave_out()")
    else:
        await items.execute("CREATE TRIGGER t BEFORE INSERT ON items WHEN NEW.id = 2 BEGIN SELECT RAISE(IGNORE); END")
    async with asyncio.timeout(60):
        results = await asyncio.gather(*(items.insert_soon(ITEMS, row) for row in numbered(1, 2, 3)))
    assert results == [1, None, 3]
    assert await names(items) == ["n1", "n3"]


async def test_an_unreachable_database_fails_all_rows_of_a_batch_at_once(items: PooledDatabase) -> None:
    inserts = 0

    async def refuse(table: Any, rows: Any) -> Any:
        nonlocal inserts
        inserts += 1
        raise TimeoutError

    batches = insert_batcher.InsertBatcher(refuse)
    results = await asyncio.gather(*(batches.add(ITEMS, row) for row in numbered(*range(50))), return_exceptions=True)
    assert all(isinstance(result, TimeoutError) for result in results)
    assert inserts == 1
