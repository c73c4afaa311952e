from __future__ import annotations

from collections.abc import AsyncGenerator
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from scalekit import Unavailable
from scalekit_pool.database import PooledDatabase
from tests.pool.harness import wait_until_released
from tests.pool.schema import DUPLICATE, ITEMS, MADE, Colour, create, names

pytestmark = pytest.mark.anyio


@pytest.fixture
async def items(database: PooledDatabase) -> AsyncGenerator[PooledDatabase, None]:
    await create(database, ITEMS)
    yield database
    await wait_until_released(database)


async def test_text_takes_named_values(items: PooledDatabase) -> None:
    insert = """INSERT INTO items (id, name, data) VALUES (:id, :name, '[":not_one", "::x"]') -- :nor this"""
    await items.execute(insert, {"id": 1, "name": "a:b"})
    row = await items.fetch_one("SELECT id, name FROM items WHERE name = :name OR name = :name", {"name": "a:b"})
    assert row is not None
    assert (row["id"], row.name, row[1], len(row), list(row.keys())) == (1, "a:b", "a:b", 2, ["id", "name"])
    assert dict(row._mapping) == dict(row) == {"id": 1, "name": "a:b"}
    with pytest.raises(AttributeError):
        _ = row.absent
    assert await items.fetch_one("SELECT 1 FROM items WHERE id = :id", {"id": 2}) is None
    assert await items.fetch_all("SELECT 1 FROM items WHERE id = :id", {"id": 2}) == []
    assert await items.fetch_val("SELECT 1 FROM items WHERE id = :id", {"id": 2}) is None
    assert await items.fetch_val("SELECT id, name FROM items", column="name") == "a:b"
    assert await items.fetch_val("SELECT id, name FROM items", column=1) == "a:b"
    assert await items.fetch_val(sa.select(ITEMS), column=ITEMS.c.name) == "a:b"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "missing value for parameter :id"),
        (None, "for parameter :id"),
        ({"id": 1, "nmae": 2}, "unknown parameters :nmae"),
    ],
)
async def test_missing_and_unknown_values_are_named(
    items: PooledDatabase, values: dict[str, Any] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        await items.fetch_all("SELECT * FROM items WHERE id = :id", values)


async def test_core_expressions_keep_their_types(items: PooledDatabase) -> None:
    values = {"name": "a", "data": {"b": [1, None]}, "made": MADE, "colour": Colour.BLUE, "price": Decimal("9.90")}
    key = await items.execute(sa.insert(ITEMS).values(id=7, **values).returning(ITEMS.c.id))
    assert key == 7
    row = await items.fetch_one(sa.select(ITEMS).where(ITEMS.c.id == 7))
    assert row is not None
    assert {name: row[name] for name in values} == values
    assert type(row.price) is Decimal
    assert row.state == "new"
    assert isinstance(row.serial, int)
    await items.execute(sa.insert(ITEMS), {"id": 8, "name": "b"})
    other = await items.fetch_one(sa.select(ITEMS).where(ITEMS.c.id == 8))
    assert other is not None
    assert (other.data, other.made, other.colour, other.price) == (None, None, None, None)
    assert other.serial != row.serial
    await items.execute(sa.update(ITEMS).where(ITEMS.c.id == 8), {"name": "c"})
    assert await items.fetch_val(sa.select(ITEMS.c.state).where(ITEMS.c.name == "c")) == "changed"


async def test_a_list_may_have_any_length_each_time(items: PooledDatabase) -> None:
    await items.insert_many(ITEMS, [{"id": number, "name": f"n{number}"} for number in range(12)])
    for wanted in ([], [3], [1, 11, 5], list(range(40))):
        query = sa.select(ITEMS.c.id).where(ITEMS.c.id.in_(wanted), ITEMS.c.name != "n5").order_by(ITEMS.c.id)
        expected = [number for number in sorted(wanted) if number < 12 and number != 5]
        assert [row.id for row in await items.fetch_all(query)] == expected


async def test_values_of_an_expression_may_be_passed_separately(items: PooledDatabase) -> None:
    await items.insert_many(ITEMS, [{"id": number, "name": f"n{number}"} for number in range(3)])
    query = sa.select(ITEMS.c.name).where(ITEMS.c.id == sa.bindparam("wanted"))
    assert await items.fetch_val(query, {"wanted": 2}) == "n2"
    assert await items.fetch_val(query, {"wanted": 1}) == "n1"


async def test_execute_many_is_all_or_nothing(items: PooledDatabase) -> None:
    insert = "INSERT INTO items (id, name) VALUES (:id, :name)"
    await items.execute_many(insert, [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}])
    await items.execute_many(sa.insert(ITEMS), [{"id": 3, "name": "c"}, {"id": 4, "name": "d", "price": 1}])
    await items.execute_many(insert, [])
    with pytest.raises(Exception, match=DUPLICATE):
        await items.execute_many(insert, [{"id": 5, "name": "e"}, {"id": 6, "name": "a"}])
    assert await names(items) == ["a", "b", "c", "d"]
    assert await items.fetch_val(sa.select(sa.func.count(sa.distinct(ITEMS.c.serial)))) == 2


async def test_a_failing_statement_raises_the_drivers_error_and_leaks_nothing(items: PooledDatabase) -> None:
    for query in ("SELECT absent FROM items", "INSERT INTO absent VALUES (1)", "SELECTX"):
        with pytest.raises(Exception, match=r"(?i)absent|syntax"):
            await items.fetch_all(query)
    await wait_until_released(items)
    size = items.driver.writers.supplier.size
    with pytest.raises(Exception, match=r"(?i)null"):
        await items.execute("INSERT INTO items (id, name) VALUES (1, NULL)")
    await wait_until_released(items)
    assert items.driver.writers.supplier.size == size


async def test_rows_are_streamed(items: PooledDatabase) -> None:
    await items.insert_many(ITEMS, [{"id": number, "name": f"n{number}", "data": [number]} for number in range(1234)])
    query = sa.select(ITEMS.c.id, ITEMS.c.data).order_by(ITEMS.c.id)
    assert [(row.id, row.data) async for row in items.iterate(query)] == [(n, [n]) for n in range(1234)]
    assert [row.id async for row in items.iterate("SELECT id FROM items WHERE id = :id", {"id": 5})] == [5]
    assert [row async for row in items.iterate("SELECT id FROM items WHERE id < 0")] == []
    async with items.transaction():
        assert len([row async for row in items.iterate(query)]) == 1234
    async with items.connection() as connection:
        assert len([row async for row in connection.iterate(query)]) == 1234
        assert len([row async for row in items.iterate(query)]) == 1234
    with pytest.raises(Exception, match="absent"):
        [row async for row in items.iterate("SELECT absent FROM items")]


async def test_writes_during_an_iteration_last_however_it_ends(items: PooledDatabase) -> None:
    await items.insert_many(ITEMS, [{"id": number, "name": f"n{number:03}"} for number in range(300)])
    rename = "UPDATE items SET name = :name WHERE id = :id"
    async for row in items.iterate("SELECT id FROM items ORDER BY id"):
        await items.execute(rename, {"name": "before", "id": row.id})
        break
    await items.execute(rename, {"name": "after", "id": 1})
    with pytest.raises(RuntimeError):  # noqa: PT012
        async for _row in items.iterate("SELECT id FROM items ORDER BY id"):
            await items.execute(rename, {"name": "beside", "id": 2})
            raise RuntimeError
    async with items.transaction():
        async for _row in items.iterate("SELECT id FROM items ORDER BY id"):
            await items.execute(rename, {"name": "inside", "id": 3})
            break
        await items.execute(rename, {"name": "last", "id": 4})
    async with items.connection():
        async for _row in items.iterate("SELECT id FROM items ORDER BY id"):
            await items.execute(rename, {"name": "kept", "id": 5})
            break
        await items.execute(rename, {"name": "kept too", "id": 6})
    await wait_until_released(items)
    found = [row.name for row in await items.fetch_all("SELECT name FROM items WHERE id < 7 ORDER BY id")]
    assert found == ["before", "after", "beside", "inside", "last", "kept", "kept too"]


async def test_iterating_in_a_failed_transaction_raises_an_error(items: PooledDatabase) -> None:
    async def broken() -> None:
        async with items.transaction(readonly=True):
            async for _row in items.iterate("SELECT absent"):
                pass

    with pytest.raises(Exception, match="absent"):
        await broken()


async def test_a_closed_database_raises_an_error(open_database: Any) -> None:
    async with open_database() as database:
        assert await database.fetch_val("SELECT 1") == 1
    with pytest.raises(Unavailable, match="not open"):
        await database.fetch_val("SELECT 1")
    async with open_database() as database:
        await database.fetch_val("SELECT 1")
        connection = database.connection()
    with pytest.raises(RuntimeError, match="was released"):
        _ = connection.raw_connection
