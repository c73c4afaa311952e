"""Parameters of expressions with unusual names, and values that become part of the SQL text."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from scalekit_pool.database import PooledDatabase

pytestmark = pytest.mark.anyio

NAMES = ["a b", "a.b", "x:y", "100%", "(s)", "k[0]", "Ü", "select", 'q"t', "it's"]
ODD = sa.Table("odd", sa.MetaData(), sa.Column("id", sa.Integer), *(sa.Column(name, sa.Integer) for name in NAMES))
SAME = {name: number for number, name in enumerate(NAMES)}


async def test_columns_with_odd_names_are_written_and_read(database: PooledDatabase) -> None:
    await database.execute(sa.schema.CreateTable(ODD))
    await database.execute(sa.insert(ODD).values(id=1, **SAME))
    await database.execute(sa.insert(ODD), {"id": 2, **SAME})
    await database.execute_many(sa.insert(ODD), [{"id": 3, **SAME}])
    await database.execute(sa.update(ODD).values({name: ODD.c[name] + 1 for name in NAMES}).where(ODD.c.id == 2))
    await database.execute(sa.update(ODD).values(dict.fromkeys(NAMES, 7)).where(ODD.c["a b"] == 0))
    await database.insert_many(ODD, [{"id": 4, **SAME}, {"id": 5, **SAME}])
    await database.insert_soon(ODD, {"id": 6, **SAME})
    plain = {name: number for name, number in SAME.items() if "." not in name}  # a dot in a name means another table
    assert await database.select(ODD, *plain, where=ODD.c.id == 5) == [plain]
    rows: Any = await database.fetch_all(sa.select(ODD).order_by(ODD.c.id))
    assert [list(row) for row in rows] == [
        [1, *[7] * 10],
        [2, *range(1, 11)],
        [3, *[7] * 10],
        *([each, *range(10)] for each in (4, 5, 6)),
    ]


@pytest.mark.parametrize(
    ("query", "value"),
    [
        (sa.select(sa.bindparam("we ird:", 5) + 1), 6),
        (sa.select(sa.bindparam("x", 5, literal_execute=True)), 5),
        (sa.select(sa.bindparam("x", "it's", literal_execute=True)), "it's"),
        (sa.select(sa.func.aggregate_strings(sa.literal_column("'a'"), "; ")), "a"),
        (sa.select(sa.literal(3).in_([1, 3]), sa.bindparam("x", 5, literal_execute=True)), True),
    ],
)
async def test_a_query_with_odd_or_literal_values_is_run(query: Any, value: Any, database: PooledDatabase) -> None:
    assert await database.fetch_val(query) == value
    assert await database.fetch_val(query) == value
