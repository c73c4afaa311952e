from __future__ import annotations

import asyncio
import enum
import uuid
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

from scalekit import Unavailable
from scalekit_pool import insert_batcher
from scalekit_pool.database import PooledDatabase
from scalekit_pool.postgres.bulk_insert import COPY_THRESHOLD
from tests.pool.conftest import POSTGRES
from tests.pool.harness import opened, until, until_complete
from tests.pool.schema import ITEMS, create, names

pytestmark = pytest.mark.anyio


@pytest.fixture
async def items(database: PooledDatabase) -> AsyncGenerator[PooledDatabase, None]:
    await create(database, ITEMS)
    yield database
    await until_complete(database)


def numbered(*numbers: int) -> list[dict[str, Any]]:
    return [{"id": number, "name": f"n{number}"} for number in numbers]


@pytest.mark.parametrize("count", [1, COPY_THRESHOLD, COPY_THRESHOLD + 1, 1500])
async def test_any_number_of_rows_goes_in(items: PooledDatabase, count: int) -> None:
    assert await items.insert_many(ITEMS, numbered(*range(count))) == count
    assert await items.insert_many("items", numbered(*range(count, 2 * count))) == count
    rows = await items.insert_many(ITEMS, numbered(*range(2 * count, 3 * count)), returning=["id", "name"])
    assert [(row.id, row.name) for row in rows] == [(n, f"n{n}") for n in range(2 * count, 3 * count)]
    assert await items.fetch_val("SELECT count(*) FROM items") == 3 * count


async def test_no_rows_are_no_work(items: PooledDatabase) -> None:
    assert await items.insert_many(ITEMS, []) == 0
    assert await items.insert_many(ITEMS, [], returning=["id"]) == []


@pytest.mark.parametrize("count", [3, 100])
async def test_duplicates_are_left_out_and_not_counted(items: PooledDatabase, count: int) -> None:
    await items.insert_many(ITEMS, numbered(*range(count)))
    more = numbered(*range(count // 2, 2 * count))
    assert await items.insert_many(ITEMS, more, skip_duplicates=True) == count
    assert await items.insert_many(ITEMS, more, skip_duplicates=True) == 0
    added = await items.insert_many(ITEMS, numbered(1, 5000, 2), skip_duplicates=True, returning=["id"])
    assert [row.id for row in added] == [5000]
    assert await items.fetch_val("SELECT count(*) FROM items") == 2 * count + 1


@pytest.mark.parametrize("count", [3, 100])
@pytest.mark.parametrize("returning", [None, ["id"]])
async def test_one_wrong_row_leaves_none(items: PooledDatabase, count: int, returning: list[str] | None) -> None:
    with pytest.raises(Exception, match=r"(?i)unique"):
        await items.insert_many(ITEMS, [*numbered(*range(count)), {"id": count, "name": "n1"}], returning=returning)
    assert await names(items) == []


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{}], "no columns"),
        ([{"id": 1, "name": "a"}, {"id": 2}], "row 1 has columns id, row 0 has id, name"),
        ([{"id": 1}, {"id": 2, "name": "a"}], "row 1 has columns id, name, row 0 has id"),
        ([{"id": 1, "name": "a"}, {"id": 2, "nmae": "b"}], "row 1 has columns id, nmae"),
        ([{"id": 1, "nmae": "a"}], "table items has no column 'nmae'.*name"),
    ],
)
async def test_mistakes_in_rows_are_named(items: PooledDatabase, rows: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        await items.insert_many(ITEMS, rows)


@pytest.mark.parametrize("table", ["", None, 5])
async def test_what_is_no_table_is_refused(items: PooledDatabase, table: Any) -> None:
    with pytest.raises(ValueError, match="expected a SQLAlchemy table or a table name"):
        await items.insert_many(table, numbered(1))


async def test_columns_may_come_in_any_order(items: PooledDatabase) -> None:
    await items.insert_many(ITEMS, [{"id": 1, "name": "a"}, {"name": "b", "id": 2}])
    assert await names(items) == ["a", "b"]


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


LISTS = sa.Table(
    "lists", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), sa.Column("tags", ARRAY(sa.Text))
)
MOMENT = datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=UTC)


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
async def test_all_types_go_in_by_all_ways(
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
async def test_columns_that_cannot_be_unnested_go_in_by_values(database: PooledDatabase) -> None:
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
async def test_more_parameters_than_a_statement_has_go_in(database: PooledDatabase) -> None:
    await create(database, ITEMS)
    rows = numbered(*range(40_000))
    assert await database.insert_many(ITEMS, rows, skip_duplicates=True) == 40_000
    returned = await database.insert_many(ITEMS, numbered(*range(40_000, 80_000)), returning=["id"])
    assert [row.id for row in returned] == list(range(40_000, 80_000))


async def test_rows_of_many_tasks_go_in_together_and_each_gets_its_key(items: PooledDatabase) -> None:
    wrong = {"id": 3, "name": "n3 again"}
    rows = [*numbered(*range(300)), wrong, {"id": 300, "name": None}]
    results = await asyncio.gather(*(items.insert_soon(ITEMS, row) for row in rows), return_exceptions=True)
    assert results[:300] == list(range(300))
    assert all(isinstance(result, Exception) for result in results[300:])
    assert "unique" in str(results[300]).lower()
    assert "null" in str(results[301]).lower()
    assert await items.fetch_val("SELECT count(*) FROM items") == 300


async def test_rows_without_a_key_and_with_other_columns_go_in_too(items: PooledDatabase) -> None:
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
    await until_complete(items)
    assert await items.fetch_val("SELECT count(*) FROM items WHERE id % 2 = 1") == 240


async def test_rows_that_wait_have_a_bound(items: PooledDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(insert_batcher, "MAX_PENDING_ROWS", 10)
    async with asyncio.TaskGroup() as group:
        release = asyncio.Event()
        limit = items.driver.writers.limits.max_size
        for _ in range(limit):
            group.create_task(hold(items, release))
        await until(lambda: items.driver.writers.supplier.size == limit and not items.driver.writers.idle)
        tasks = [asyncio.create_task(items.insert_soon(ITEMS, row)) for row in numbered(*range(13))]
        await until(lambda: sum(task.done() for task in tasks) >= 2)
        release.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    refused = [result for result in results if isinstance(result, Unavailable)]
    assert len(refused) in (2, 3)
    assert "are waiting for insertion into items" in str(refused[0])
    assert [result for result in results if isinstance(result, int)] == list(range(13 - len(refused)))


async def test_rows_whose_caller_has_given_up_count_no_longer(
    items: PooledDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(insert_batcher, "MAX_PENDING_ROWS", 10)
    async with asyncio.TaskGroup() as group:
        release = asyncio.Event()
        limit = items.driver.writers.limits.max_size
        for _ in range(limit):
            group.create_task(hold(items, release))
        await until(lambda: items.driver.writers.supplier.size == limit and not items.driver.writers.idle)
        first = asyncio.create_task(items.insert_soon(ITEMS, {"id": 0, "name": "first"}))
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # its statement waits for a connection, and what follows waits for the statement
        given_up = [asyncio.create_task(items.insert_soon(ITEMS, row)) for row in numbered(*range(1, 11))]
        await asyncio.sleep(0)
        for task in given_up:
            task.cancel()
        await asyncio.wait(given_up)
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
async def test_what_waits_goes_in_before_the_database_closes(url: str) -> None:
    async with opened(url) as database:
        await create(database, ITEMS)
        tasks = [asyncio.create_task(database.insert_soon(ITEMS, row)) for row in numbered(*range(50))]
        await asyncio.sleep(0)
    assert await asyncio.gather(*tasks) == list(range(50))
    async with opened(url) as database:
        assert await database.fetch_val("SELECT count(*) FROM items") == 50


async def test_a_row_that_a_trigger_leaves_out_has_no_key_and_the_others_theirs(items: PooledDatabase) -> None:
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
