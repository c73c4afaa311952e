"""SQLAlchemy expressions are compiled once, and take values, whatever the database."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import CompileError, InvalidRequestError
from sqlalchemy.schema import CreateColumn, CreateIndex, CreateTable, DropTable

from scalekit_pool.database import PooledDatabase
from tests.pool.schema import ITEMS, MADE, Colour, create, numbered

pytestmark = pytest.mark.anyio

C = ITEMS.c


async def test_the_same_query_is_compiled_once(database: PooledDatabase) -> None:
    await create(database, ITEMS)
    for number in range(50):
        await database.fetch_all(sa.select(C.id + number).where(C.name == f"n{number}", C.serial > number))
        await database.fetch_all(sa.select(C.id).where(C.id.in_([number, number + 1])))
        await database.execute(sa.insert(ITEMS), {"id": number, "name": f"n{number}"})
    expressions = database.compiler.expressions
    assert len(expressions._plans) == 3
    assert len(expressions._expansions) == 1


async def test_a_list_of_any_length_is_bound(database: PooledDatabase) -> None:
    await create(database, ITEMS)
    await database.insert_many(ITEMS, numbered(*range(20)))
    for length in (0, 1, 5, 20, 1):
        wanted = [f"n{number}" for number in range(length)]
        rows = await database.fetch_all(sa.select(C.name).where(C.name.in_(wanted)).order_by(C.id))
        assert [row.name for row in rows] == wanted
    chosen = sa.select(sa.func.count()).where(C.id.in_(sa.bindparam("ids", expanding=True)))
    assert await database.fetch_val(chosen, {"ids": [1, 2, 50]}) == 2


async def test_values_are_parameters_or_columns(database: PooledDatabase) -> None:
    await create(database, ITEMS)
    for number in (1, 2):
        await database.execute(sa.insert(ITEMS), {"id": number, "name": f"n{number}", "colour": Colour.RED})
    renamed = sa.update(ITEMS).where(C.id == sa.bindparam("wanted")).values(name=sa.bindparam("new"))
    await database.execute(renamed, {"wanted": 1, "new": "a"})
    await database.execute_many(renamed, [{"wanted": 1, "new": "x"}, {"wanted": 2, "new": "y"}])
    await database.execute(sa.update(ITEMS).where(C.id == sa.bindparam("wanted")), {"wanted": 1, "made": MADE})
    await database.execute(sa.update(ITEMS).values(data=1).where(C.id == 2), {"name": sa.func.upper(C.name)})
    await database.execute(sa.delete(ITEMS).where(C.id == sa.bindparam("wanted")), {"wanted": 3})
    query = sa.select(C.name, C.made, C.data, C.colour, C.state).where(C.id >= sa.bindparam("least")).order_by(C.id)
    assert [list(row) for row in await database.fetch_all(query, {"least": 1})] == [
        ["x", MADE, None, Colour.RED, "changed"],
        ["Y", None, 1, Colour.RED, "changed"],
    ]


async def test_wrong_names_of_values_are_refused(database: PooledDatabase) -> None:
    with pytest.raises(CompileError, match="Unconsumed column names: nme"):
        await database.execute(sa.insert(ITEMS), {"id": 1, "nme": "a"})
    with pytest.raises(InvalidRequestError, match="A value is required for bind parameter 'wanted'"):
        await database.execute(sa.delete(ITEMS).where(C.id == sa.bindparam("wanted")))


async def test_execute_returns_a_converted_value(database: PooledDatabase) -> None:
    await create(database, ITEMS)
    insert = sa.insert(ITEMS).values(id=1, name="a", colour=Colour.BLUE, data={"a": [1]})
    assert await database.execute(insert.returning(C.data)) == {"a": [1]}
    assert await database.execute(sa.select(C.colour)) is Colour.BLUE
    assert await database.execute(sa.select(C.id, C.colour)) == 1
    assert await database.execute(sa.select(C.colour).where(C.id == 2)) is None
    assert await database.execute(sa.text("SELECT id, data FROM items").columns(C.id, C.data)) == 1


async def test_ddl_is_run(database: PooledDatabase) -> None:
    columns: list[sa.Column[Any]] = [sa.Column("id", sa.Integer, primary_key=True), sa.Column("a", sa.String(5))]
    table = sa.Table("created", sa.MetaData(), *columns, sa.CheckConstraint("a <> '%:x'"))
    await database.execute(CreateTable(table))
    await database.execute(CreateTable(table, if_not_exists=True))
    await database.execute(CreateIndex(sa.Index("made_a", table.c.a, unique=True, sqlite_where=table.c.id > 5)))
    ddl: Any = sa.DDL  # it has no types
    await database.execute(
        ddl(
            "CREATE VIEW seen AS SELECT '100%% %(context)s' AS a FROM %(table)s",
            context={"context": "x", "table": "created"},
        )
    )
    if database.dialect != "mysql":  # where DDL commits
        async with database.transaction(force_rollback=True):
            await database.execute(ddl("DROP VIEW seen"))
            await database.execute(DropTable(table))
    await database.execute(sa.insert(table), {"id": 1, "a": "x"})
    assert await database.fetch_val("SELECT a FROM seen") == "100% x"
    await database.execute(ddl("DROP VIEW seen"))
    await database.execute(DropTable(table, if_exists=True))
    with pytest.raises(Exception, match="created"):
        await database.execute(sa.insert(table), {"id": 1, "a": "x"})
    with pytest.raises(ValueError, match="DDL takes no values: write id into it"):
        await database.execute(CreateTable(table), {"id": 1})


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (sa.literal(1) + 2, "wrap this .* in select"),
        (C.id, "wrap this .* in select"),
        (ITEMS, "wrap this .* in select"),
        (CreateColumn(C.name), "wrap this .* in select"),
        (5, "got int"),
    ],
)
async def test_a_query_that_is_no_statement_is_refused(database: PooledDatabase, part: Any, message: str) -> None:
    with pytest.raises(TypeError, match=f"a query must be SQL text or a SQLAlchemy statement: {message}"):
        await database.fetch_all(part)
