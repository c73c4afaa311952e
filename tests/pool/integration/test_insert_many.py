from __future__ import annotations

import enum
import gc
import uuid
import weakref
from collections.abc import AsyncGenerator
from contextvars import ContextVar
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

from scalekit_pool.compiler import ExpressionCompiler
from scalekit_pool.database import PooledDatabase
from scalekit_pool.postgres.bulk_insert import COPY_THRESHOLD
from scalekit_pool.sqlite.dialect import sqlite_dialect
from scalekit_pool.statement_classifier import StatementParser
from tests.pool.conftest import POSTGRES
from tests.pool.harness import wait_until_released
from tests.pool.schema import DUPLICATE, ITEMS, MADE, create, names, numbered

pytestmark = pytest.mark.anyio


MOMENT = datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=UTC)
LISTS = sa.Table(
    "lists", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), sa.Column("tags", ARRAY(sa.Text))
)


@pytest.fixture
async def items(database: PooledDatabase) -> AsyncGenerator[PooledDatabase, None]:
    await create(database, ITEMS)
    yield database
    await wait_until_released(database)


@pytest.mark.parametrize("count", [1, COPY_THRESHOLD, COPY_THRESHOLD + 1, 1500])
async def test_any_number_of_rows_is_inserted(items: PooledDatabase, count: int) -> None:
    assert await items.insert_many(ITEMS, numbered(*range(count))) == count
    assert await items.insert_many("items", numbered(*range(count, 2 * count))) == count
    rows = await items.insert_many(ITEMS, numbered(*range(2 * count, 3 * count)), returning=["id", "name"])
    assert [(row.id, row.name) for row in rows] == [(n, f"n{n}") for n in range(2 * count, 3 * count)]
    assert await items.fetch_val("SELECT count(*) FROM items") == 3 * count


async def test_no_rows_run_no_statement(items: PooledDatabase) -> None:
    assert await items.insert_many(ITEMS, []) == 0
    assert await items.insert_many(ITEMS, [], returning=["id"]) == []


@pytest.mark.parametrize("count", [3, 100])
async def test_duplicates_are_skipped_and_not_counted(items: PooledDatabase, count: int) -> None:
    await items.insert_many(ITEMS, numbered(*range(count)))
    more = numbered(*range(count // 2, 2 * count))
    assert await items.insert_many(ITEMS, more, skip_duplicates=True) == count
    assert await items.insert_many(ITEMS, more, skip_duplicates=True) == 0
    added = await items.insert_many(ITEMS, numbered(1, 5000, 2), skip_duplicates=True, returning=["id"])
    assert [row.id for row in added] == [5000]
    assert await items.fetch_val("SELECT count(*) FROM items") == 2 * count + 1


@pytest.mark.parametrize("count", [3, 100])
@pytest.mark.parametrize("returning", [None, ["id"]])
async def test_one_invalid_row_rolls_back_all(items: PooledDatabase, count: int, returning: list[str] | None) -> None:
    with pytest.raises(Exception, match=DUPLICATE):
        await items.insert_many(ITEMS, [*numbered(*range(count)), {"id": count, "name": "n1"}], returning=returning)
    assert await names(items) == []


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{}], "no columns"),
        ([{"id": 1, "name": "a"}, {"id": 2}], "row 1 has columns id, row 0 has id, name"),
        ([{"id": 1}, {"id": 2, "name": "a"}], "row 1 has columns id, name, row 0 has id"),
        ([{"id": 1, "name": "a"}, {"id": 2, "nmae": "b"}], "row 1 has columns id, nmae"),
        ([{"id": 1, "nmae": "a"}], "table items has no column 'nmae'.*name"),
    ],
)
async def test_errors_in_rows_name_the_row(items: PooledDatabase, rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        await items.insert_many(ITEMS, rows)


@pytest.mark.parametrize("table", ["", None, 5])
async def test_an_object_that_is_no_table_is_refused(items: PooledDatabase, table: Any) -> None:
    with pytest.raises(ValueError, match="expected a SQLAlchemy table or a table name"):
        await items.insert_many(table, numbered(1))


async def test_columns_may_come_in_any_order(items: PooledDatabase) -> None:
    await items.insert_many(ITEMS, [{"id": 1, "name": "a"}, {"name": "b", "id": 2}])
    assert await names(items) == ["a", "b"]


TENANT: ContextVar[str] = ContextVar("tenant")
DEFAULTS = sa.Table(
    "accounts",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("full name", sa.String(20), default="nobody", key="name"),
    sa.Column("state", sa.Enum("NEW", "OLD", name="state", native_enum=False), default="NEW"),
    sa.Column("tenant", sa.String(20), default=TENANT.get),
    sa.Column("label", sa.String(50), default=lambda context: context.get_current_parameters()["name"].upper()),
    sa.Column("made", sa.DateTime, default=sa.func.now()),
    sa.Column("serial", sa.Integer, sa.Sequence("serials", optional=True)),
    sa.Column("kind", sa.String(20), server_default="plain"),
)


@pytest.mark.parametrize("count", [1, COPY_THRESHOLD + 1])
async def test_defaults_of_columns_are_evaluated_for_each_row(database: PooledDatabase, count: int) -> None:
    await create(database, DEFAULTS)
    TENANT.set("t1")
    rows = [{"id": number, "made": MADE, **({"name": "ada"} if number == 0 else {})} for number in range(count)]
    assert await database.insert_many(DEFAULTS, rows[1:] or rows) == max(1, count - 1)
    assert await database.insert_soon(DEFAULTS, {"id": 100, "made": MADE, "state": "OLD"}) == 100
    async with database.transaction():
        assert await database.insert_soon(DEFAULTS, {"id": 101, "made": MADE}) == 101
    found = await database.fetch_all(sa.select(DEFAULTS).order_by(DEFAULTS.c.id))
    name = "nobody" if count > 1 else "ada"
    first = {"name": name, "state": "NEW", "tenant": "t1", "label": name.upper(), "kind": "plain", "serial": None}
    assert {key: found[0][DEFAULTS.c[key].name] for key in first} == first
    assert [row.state for row in found[-2:]] == ["OLD", "NEW"]
    assert {row.tenant for row in found} == {"t1"}


async def test_a_default_that_is_an_sql_expression_must_be_set(database: PooledDatabase) -> None:
    await create(database, DEFAULTS)
    TENANT.set("t1")
    message = "the default of accounts.made is an SQL expression, which bulk inserts do not evaluate: set it in each"
    with pytest.raises(ValueError, match=message):
        await database.insert_many(DEFAULTS, [{"id": 1}])
    with pytest.raises(ValueError, match=message):
        await database.insert_soon(DEFAULTS, {"id": 1})
    await database.insert_many("accounts", [{"id": 1}])
    assert await database.fetch_val("SELECT made FROM accounts") is None


def test_the_defaults_of_a_table_do_not_outlive_it() -> None:
    compiler = ExpressionCompiler(sqlite_dialect(), StatementParser("sqlite"))
    table = sa.Table("t", sa.MetaData(), sa.Column("id", sa.Integer, default=lambda: 1))
    assert compiler.with_defaults(table, [{}]) == [{"id": 1}]
    reference = weakref.ref(table)
    del table
    gc.collect()
    assert reference() is None


class Mood(enum.Enum):
    GLAD = "glad"
    SAD = "sad"


def odd_table(schema: str | None) -> sa.Table:
    return sa.Table(
        'Odd "named". table',
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("a b", UUID(as_uuid=True)),
        sa.Column('q"uoted', JSONB),
        sa.Column("Upper", sa.Numeric(20, 5)),
        sa.Column("moment", sa.DateTime(timezone=True)),
        sa.Column("short", sa.String(5)),
        sa.Column("mood", sa.Enum(Mood, name="mood", schema=schema)),
        sa.Column("fixed", sa.CHAR(3)),
        schema=schema,
    )


def odd_row(number: int) -> dict[str, Any]:
    if number % 3 == 0:
        return {"id": number, **dict.fromkeys(["a b", 'q"uoted', "Upper", "moment", "short", "mood", "fixed"])}
    return {
        "id": number,
        "a b": uuid.UUID(int=number),
        'q"uoted': {"n": [number, None, "ü"]},
        "Upper": Decimal(number) / 8,
        "moment": MOMENT,
        "short": "äöü",
        "mood": Mood.SAD,
        "fixed": "abc",
    }


@pytest.mark.parametrize("url", [POSTGRES], indirect=True)
@pytest.mark.parametrize("schema", [None, 'The "shop"'])
@pytest.mark.parametrize("how", [{}, {"skip_duplicates": True}, {"returning": ["id"]}])
@pytest.mark.parametrize("count", [4, 50])
async def test_all_types_are_inserted_by_all_methods(
    database: PooledDatabase, schema: str | None, how: dict[str, Any], count: int
) -> None:
    where = '"The ""shop""".' if schema else ""
    await database.execute('CREATE SCHEMA "The ""shop"""')
    await database.execute(f"CREATE TYPE {where}mood AS ENUM ('GLAD', 'SAD')")
    table = odd_table(schema)
    await create(database, table)
    rows = [odd_row(number) for number in range(count)]
    given = await database.insert_many(table, rows, **how)
    assert (given if isinstance(given, int) else [row[0] for row in given]) == (
        list(range(count)) if "returning" in how else count
    )
    found = await database.fetch_all(sa.select(table).order_by(table.c.id))
    assert [dict(row._mapping) for row in found] == rows


@pytest.mark.parametrize("url", [POSTGRES], indirect=True)
async def test_columns_that_cannot_be_unnested_are_inserted_by_values(database: PooledDatabase) -> None:
    await create(database, LISTS)
    rows = [{"id": number, "tags": None if number == 7 else ["a", None, str(number)]} for number in range(20_000)]
    assert len(await database.insert_many(LISTS, rows, returning=["id"])) == 20_000
    assert await database.insert_many(LISTS, rows, skip_duplicates=True) == 0
    assert await database.insert_many(LISTS, [{"id": -1, "tags": []}, *rows], skip_duplicates=True) == 1
    more = [{"id": 20_000 + n, "tags": ["x"]} for n in range(COPY_THRESHOLD + 1)]
    assert await database.insert_many(LISTS, more) == COPY_THRESHOLD + 1
    found = await database.fetch_all("SELECT tags FROM lists WHERE id IN (-1, 7, 8) ORDER BY id")
    assert [row.tags for row in found] == [[], None, ["a", None, "8"]]
    await database.execute("CREATE TYPE pair AS (a int, b text)")
    await database.execute("CREATE TABLE pairs (id int PRIMARY KEY, pair pair, span int4range)")
    pairs = [{"id": n, "pair": (n, "x"), "span": None} for n in range(3)]
    assert await database.insert_many("pairs", pairs, skip_duplicates=True) == 3
    assert await database.fetch_val("SELECT sum((pair).a) FROM pairs") == 3


@pytest.mark.parametrize("url", [POSTGRES], indirect=True)
async def test_more_parameters_than_one_statement_allows_are_inserted(database: PooledDatabase) -> None:
    await create(database, ITEMS)
    rows = numbered(*range(40_000))
    assert await database.insert_many(ITEMS, rows, skip_duplicates=True) == 40_000
    returned = await database.insert_many(ITEMS, numbered(*range(40_000, 80_000)), returning=["id"])
    assert [row.id for row in returned] == list(range(40_000, 80_000))
