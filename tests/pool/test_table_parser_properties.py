"""Every table that a random statement uses is found, by SQLite's authorizer and by PostgreSQL."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit_pool.statement_classifier import Statement, StatementParser
from scalekit_pool.table_parser import TableParser
from scalekit_pool.table_usage import TableUsage
from tests.servers import Postgres

TABLES = ("alpha", "beta", "Gamma Ray", "delta", "select")
SYSTEM = ("sqlite_master", "sqlite_schema", "sqlite_temp_master")


def statement(text: str, dialect: str = "sqlite") -> Statement:
    return StatementParser(dialect, True, TableParser(dialect).find_tables).parse(text)


def used(text: str, dialect: str = "sqlite") -> TableUsage:
    return statement(text, dialect).tables


names = st.sampled_from(TABLES)
spellings = st.sampled_from(('"{}"', "[{}]", "`{}`", "main.[{}]", "'{}'", '"main"."{}"'))


@st.composite
def sources(draw: Any, depth: int) -> str:
    if depth and draw(st.integers(0, 2)) == 0:
        return f"({draw(queries(depth - 1))})"
    return str(draw(spellings).format(draw(names)))


@st.composite
def conditions(draw: Any, depth: int) -> str:
    kinds = ["1", "x = ?", "x LIKE 'a FROM alpha' -- , beta\n", "x IN (1, 2)", "x GLOB '*' /* beta */"]
    if depth:
        query = draw(queries(depth - 1))
        kinds += [f"x IN ({query})", f"EXISTS ({query})", f"x NOT IN {draw(spellings).format(draw(names))}"]
    return str(draw(st.sampled_from(kinds)))


@st.composite
def queries(draw: Any, depth: int) -> str:
    first, second = draw(sources(depth)), draw(sources(depth))
    join = draw(st.sampled_from([f" JOIN {second}", f", {second}", f" LEFT JOIN {second} ON 1", ""]))
    query = f"SELECT 1 AS x FROM (SELECT * FROM {first}{join}) WHERE {draw(conditions(depth))}"
    if depth and draw(st.booleans()):
        kind = draw(st.sampled_from(("UNION", "UNION ALL", "EXCEPT", "INTERSECT")))
        query = f"{query} {kind} SELECT x FROM {draw(sources(0))}"
    if depth and draw(st.booleans()):
        name = draw(st.sampled_from(("w", *TABLES)))
        query = f'WITH "{name}" AS ({draw(queries(depth - 1))}) {query}'
    return query


@st.composite
def texts(draw: Any) -> str:
    target, query = draw(spellings).format(draw(names)), draw(queries(2))
    condition = draw(conditions(1))
    return str(
        draw(
            st.sampled_from(
                (
                    query,
                    f"INSERT INTO {target} (x) {query}",
                    f"INSERT OR IGNORE INTO {target} (x) VALUES (1)",
                    f"REPLACE INTO {target} (x) VALUES ((SELECT x FROM ({query})))",
                    f"UPDATE {target} SET x = ({query}) WHERE {condition}",
                    f"DELETE FROM {target} WHERE {condition}",
                    f"DELETE FROM {target} WHERE {condition} RETURNING x",
                )
            )
        )
    )


def sqlite_usage(text: str) -> tuple[set[str], set[str]] | None:
    """Return the tables that *text* reads and writes by SQLite's authorizer, or None when SQLite refuses it."""
    reads: set[str] = set()
    writes: set[str] = set()

    def note(action: int, table: str | None, *_: str | None) -> int:
        if table and table not in SYSTEM:
            if action == sqlite3.SQLITE_READ:
                reads.add(table.casefold())
            elif action in (sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE):
                writes.add(table.casefold())
        return sqlite3.SQLITE_OK

    connection = sqlite3.connect(":memory:")
    try:
        for name in TABLES:
            connection.execute(f'CREATE TABLE "{name}" (x INTEGER)')
        connection.set_authorizer(note)
        connection.execute(f"EXPLAIN {text}", (1,) * StatementParser("sqlite").parse(text).sql.count("?"))
    except sqlite3.Error:
        return None
    finally:
        connection.close()
    return reads & {name.casefold() for name in TABLES}, writes


@given(texts())
def test_every_table_that_sqlite_reads_or_writes_is_found(text: str) -> None:
    true = sqlite_usage(text)
    if true is None:
        return
    found = used(text)
    assert found.read is None or true[0] <= found.read
    assert found.written is None or true[1] == found.written


@pytest.mark.slow
def test_the_tables_of_most_sqlite_statements_are_known() -> None:
    counted = {"known": 0, "unknown": 0}

    @given(texts())
    def count(text: str) -> None:
        if sqlite_usage(text) is not None:
            counted["unknown" if used(text).read is None else "known"] += 1

    count()
    assert counted["known"] > 20, counted


@pytest.mark.needs("postgres")
def test_every_table_that_postgresql_reads_is_found(shared_postgres: Postgres) -> None:
    shared_postgres.sql("CREATE SCHEMA IF NOT EXISTS seen; CREATE TABLE IF NOT EXISTS seen.a (id int, x int[])")
    shared_postgres.sql('CREATE TABLE IF NOT EXISTS seen."B b" (id int); CREATE TABLE IF NOT EXISTS seen.c (id int)')
    for text, tables in {
        "SELECT * FROM seen.a": {"a"},
        'TABLE seen."B b"': {"b b"},
        'SELECT * FROM seen.a*, ONLY seen."B b"': {"a", "b b"},
        "SELECT ARRAY(SELECT id FROM seen.c), x[1] FROM seen.a WINDOW w AS (ORDER BY x)": {"a", "c"},
        'WITH RECURSIVE r AS (SELECT 1 AS id UNION ALL SELECT c.id FROM r JOIN seen.c USING (id)) TABLE r': {"c"},
        'SELECT * FROM (seen.a NATURAL JOIN seen.c) LEFT JOIN LATERAL (TABLE seen."B b") l ON true': {"a", "c", "b b"},
        "SELECT count(*) FILTER (WHERE id IN (SELECT id FROM seen.c)) FROM seen.a TABLESAMPLE system (50)": {"a", "c"},
    }.items():  # fmt: skip
        plan = shared_postgres.sql(f"EXPLAIN (FORMAT JSON) {text}").casefold()
        assert {name for name in ("a", "b b", "c") if f'"relation name": "{name}"' in plan} == tables
        found = used(text, "postgresql").read
        assert found is None or tables <= found, text
