"""Plans of statements without their values, on all databases; nothing is executed."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit_pool.database import PooledDatabase
from scalekit_pool.explain import explain, plan_without_values, reason_of
from scalekit_pool.statement_classifier import StatementParser
from tests.pool.conftest import POSTGRES
from tests.pool.harness import opened, wait_until_released

pytestmark = pytest.mark.anyio

STATEMENTS = [
    "SELECT name FROM items WHERE id = :id ORDER BY 1 LIMIT 10",
    "SELECT name FROM items WHERE name = 'secret' AND id IN (1, 2)",
    "INSERT INTO items (id, name) VALUES (:id, :name)",
    "UPDATE items SET name = :name WHERE id = :id",
    "DELETE FROM items WHERE name = :name",
    "WITH found AS (SELECT id FROM items) SELECT * FROM found WHERE id > :id",
    "SELECT '?' FROM items WHERE name = ':a'",
    "SELECT name FROM items -- the end",
]


@pytest.fixture
async def items(url: str) -> AsyncGenerator[PooledDatabase, None]:
    """Return a database with a pool of one connection, so that all tests find what was left on it."""
    async with opened(url, max_size=1) as database:
        await database.execute("CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT)")
        await database.execute("INSERT INTO items VALUES (1, 'secret')")
        yield database


async def prepared_statements(database: PooledDatabase) -> list[str]:
    """Return the statements that explain has left on the connection of the pool."""
    rows = await database.fetch_all("SELECT name FROM pg_prepared_statements WHERE name LIKE 'scalekit_explain%'")
    return [row[0] for row in rows]


def sql_of(database: PooledDatabase, text: str) -> str:
    return StatementParser(database.dialect).parse(text).sql


async def test_statements_are_explained_and_not_executed(items: PooledDatabase) -> None:
    for text in STATEMENTS:
        plan = await explain(items, sql_of(items, text))
        expected = "no table is searched" if text.startswith("INSERT") and items.dialect == "sqlite" else "items"
        assert expected in plan, text
        assert "secret" not in plan, text
    assert [tuple(row) for row in await items.fetch_all("SELECT id, name FROM items")] == [(1, "secret")]
    await wait_until_released(items)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1; DROP TABLE items",
        "SELECT 1; COMMIT; DROP TABLE items",
        "SELECT name FROM missing WHERE name = 'secret'",
        "SELECT 'secret",
        "SELECT * FROM items WHERE id = CAST('secret' AS nothing)",
        "DELETE FROM items; --",
        ") DROP TABLE items",
    ],
)
async def test_hostile_statements_change_nothing_and_show_no_value(items: PooledDatabase, sql: str) -> None:
    shown = ""
    try:
        shown = await explain(items, sql)
    except Exception as error:
        shown = reason_of(error)
    assert "secret" not in shown
    assert [tuple(row) for row in await items.fetch_all("SELECT id, name FROM items")] == [(1, "secret")]
    await wait_until_released(items)
    assert await explain(items, "SELECT name FROM items")


@pytest.mark.parametrize("url", [POSTGRES], indirect=True)
async def test_a_function_that_writes_writes_nothing(items: PooledDatabase) -> None:
    await items.execute(
        "CREATE FUNCTION drain() RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN DELETE FROM items; RETURN 1; END $$"
    )
    with pytest.raises(Exception, match=r"read-only|DELETE is not allowed"):
        await explain(items, "SELECT name FROM items WHERE id = drain()")
    assert await items.fetch_val("SELECT count(*) FROM items") == 1
    await wait_until_released(items)
    assert await prepared_statements(items) == []


@pytest.mark.parametrize("url", [POSTGRES], indirect=True)
async def test_the_plan_is_generic_and_nothing_stays_in_the_session(items: PooledDatabase) -> None:
    await items.execute("CREATE TABLE parts (id INT, name TEXT) PARTITION BY RANGE (id)")
    for number in range(3):
        await items.execute(
            f"CREATE TABLE part{number} PARTITION OF parts FOR VALUES FROM ({number}) TO ({number + 1})"
        )
    plan = await explain(items, "SELECT * FROM parts WHERE id = $1 AND name = 'secret' LIMIT $2")
    assert [f"part{number}" in plan for number in range(3)] == [True] * 3
    assert "(id = ?)" in plan
    assert "(cost=" in plan
    await wait_until_released(items)
    assert await prepared_statements(items) == []
    settings = await items.fetch_one("SELECT current_setting('plan_cache_mode'), current_setting('statement_timeout')")
    assert settings is not None
    assert tuple(settings) == ("auto", "30s")


@pytest.mark.parametrize("url", [POSTGRES], indirect=True)
async def test_a_plan_that_waits_for_a_lock_is_given_up(
    items: PooledDatabase, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scalekit_pool.explain.STATEMENT_TIMEOUT", 50)
    monkeypatch.setattr("scalekit_pool.explain.TIMEOUT", 600)
    async with opened(url) as other, other.transaction():
        await other.execute("LOCK TABLE items")
        with pytest.raises(TimeoutError, match="statement_timeout"):
            await explain(items, "SELECT name FROM items")
    assert await explain(items, "SELECT name FROM items")


async def test_a_plan_of_sqlite_shows_what_is_nested(tmp_path: Path) -> None:
    async with opened(f"sqlite:///{tmp_path}/test.db") as database:
        await database.execute("CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT)")
        sql = "SELECT name FROM items WHERE id = ? UNION SELECT name FROM items"
        assert await explain(database, sql) == (
            "COMPOUND QUERY\n"
            "  LEFT-MOST SUBQUERY\n"
            "    SEARCH items USING INTEGER PRIMARY KEY (rowid=?)\n"
            "  UNION USING TEMP B-TREE\n"
            "    SCAN items"
        )


PLAN = """Limit  (cost=0.00..9.98 rows=1 width=12)
  Workers Planned: 2
  ->  Seq Scan on "a 1" b_2  (cost=0.00..99.80 rows=10 width=12)
        Filter: ((id > 7) AND (name = {literal}::text))"""


@given(st.text(st.sampled_from("ab'\\\n$(): 07.=costrwid"), max_size=60))
def test_no_value_is_left_in_a_plan(value: str) -> None:
    escaped = value.replace("'", "''")
    literal = "E'" + escaped.replace("\\", "\\\\") + "'" if "\\" in value else f"'{escaped}'"
    shown = plan_without_values(PLAN.format(literal=literal))
    assert shown == PLAN.format(literal="?").replace("> 7", "> ?")
