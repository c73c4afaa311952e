from __future__ import annotations

from contextlib import aclosing

import pytest

from scalekit_pool.database import PooledDatabase
from tests.pool.harness import wait_until_released

pytestmark = [pytest.mark.anyio, pytest.mark.needs("mariadb")]


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 250])
async def test_all_rows_arrive_in_order_while_the_connection_runs_others(maria: PooledDatabase, count: int) -> None:
    if count:
        await maria.insert_many("items", [{"id": number + 1, "name": f"n{number}"} for number in range(count)])
    found = []
    async with maria.transaction():
        async for row in maria.iterate("SELECT id FROM items WHERE id > :n ORDER BY id", {"n": 0}):
            found.append(row.id)
            if row.id % 100 == 1:
                await maria.execute(
                    "UPDATE items SET name = :name WHERE id = :id", {"id": row.id, "name": f"x{row.id}"}
                )
    assert found == list(range(1, count + 1))


async def test_statements_without_a_cursor_are_streamed_too(maria: PooledDatabase) -> None:
    assert [row[0] async for row in maria.iterate("SHOW TABLES")] == ["items"]
    insert = "INSERT INTO items (name) VALUES (:a), (:b) RETURNING name"
    assert [row.name async for row in maria.iterate(insert, {"a": "x", "b": "y"})] == ["x", "y"]
    delete = "DELETE FROM items WHERE id > :n RETURNING name"
    assert [row.name async for row in maria.iterate(delete, {"n": 0})] == ["x", "y"]


async def test_a_stream_that_ends_early_leaves_no_cursor(maria: PooledDatabase) -> None:
    await maria.insert_many("items", [{"name": f"n{number}"} for number in range(300)])
    for _ in range(3):
        async with aclosing(maria.iterate("SELECT id FROM items")) as rows:
            await anext(rows)
    await wait_until_released(maria)
    assert await maria.fetch_val("SELECT count(*) FROM items") == 300
