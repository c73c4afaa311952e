"""Columns of results, which SQLAlchemy finds by place or by name."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from scalekit_pool.database import PooledDatabase
from tests.pool.schema import ITEMS, Colour, create

pytestmark = pytest.mark.anyio

C = ITEMS.c


async def put_one(database: PooledDatabase) -> None:
    await create(database, ITEMS)
    await database.execute(sa.insert(ITEMS).values(id=1, name="a", data={"k": 1}, colour=Colour.RED))


async def one(database: PooledDatabase, query: Any) -> Any:
    row = await database.fetch_one(query)
    assert row is not None
    assert [list(each) for each in await database.fetch_all(query)] == [list(row)]
    return row


async def test_columns_of_a_text_are_found_by_name_whatever_their_place(database: PooledDatabase) -> None:
    await put_one(database)
    texts = {"colour, id, data": [Colour.RED, 1, {"k": 1}], "data, name, colour": [{"k": 1}, "a", Colour.RED]}
    for columns, values in texts.items():
        query = sa.text(f"SELECT {columns} FROM items").columns(data=sa.JSON, colour=C.colour.type)
        assert list(await one(database, query)) == values


async def test_a_star_returns_the_columns_that_the_table_has_now(database: PooledDatabase) -> None:
    await put_one(database)
    query = sa.select(sa.text("parents.*"), C.data).select_from(ITEMS, sa.text("parents"))
    await database.execute("CREATE TABLE parents (id INTEGER)")
    await database.execute("INSERT INTO parents (id) VALUES (5)")
    assert list(await one(database, query)) == [5, {"k": 1}]
    await database.execute("ALTER TABLE parents ADD COLUMN more INTEGER DEFAULT 6")
    assert list(await one(database, query)) == [5, 6, {"k": 1}]


async def test_columns_have_the_names_of_sqlalchemy(database: PooledDatabase) -> None:
    await put_one(database)
    row = await one(database, sa.select(-C.id, C.colour, C.name.label("colour")))
    assert list(row.keys()) == ["id", "colour", "colour"]
    assert (row.id, row["id"], row[0]) == (-1, -1, -1)
    assert dict(row) == row._mapping == {"id": -1, "colour": "a"}
    assert repr(row) == "<Row {'id': -1, 'colour': 'a'}>"
    with pytest.raises(AttributeError, match="name"):
        row.name  # noqa: B018 # the access is the test
