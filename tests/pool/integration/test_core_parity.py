"""Core expressions return what SQLAlchemy's own asyncpg and aiosqlite engines return, values and types."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from scalekit_pool.database import PooledDatabase
from tests.pool.conftest import MARIADB, POSTGRES, url_of
from tests.pool.harness import opened, wait_until_released
from tests.pool.integration.core_changes import CHANGES, MARIADB_CHANGES, POSTGRES_CHANGES, SQLITE_CHANGES
from tests.pool.integration.core_postgres import POSTGRES_QUERIES
from tests.pool.integration.core_queries import QUERIES
from tests.pool.integration.core_schema import (
    DEFAULTS,
    KEYED,
    MARIADB_THINGS,
    POSTGRES_ROW,
    POSTGRES_THINGS,
    ROW,
    SEQUENCED,
    SILENT,
    SQLITE_THINGS,
)

pytestmark = pytest.mark.anyio

Make = Callable[[], Any]
DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "mariadb": "mariadb+asyncmy"}


TABLES = {"sqlite": SQLITE_THINGS, "postgresql": POSTGRES_THINGS, "mariadb": MARIADB_THINGS}
ROWS = {"sqlite": ROW, "postgresql": POSTGRES_ROW, "mariadb": ROW}


DIFFERENT = [("divisions", MARIADB_THINGS), ("literals of all types", MARIADB_THINGS)]
"""MariaDB knows the type of a parameter at execution only: 7 // 2 is Decimal; asyncmy's engine fails for times."""


@pytest.fixture(params=["file", POSTGRES, MARIADB])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return url_of(request, tmp_path)


@pytest.fixture
def table(url: str) -> sa.Table:
    return TABLES[url.split(":")[0]]


@pytest.fixture
def queries(table: sa.Table) -> dict[str, Make]:
    return {
        **{name: partial(make, table) for name, make in QUERIES.items() if (name, table) not in DIFFERENT},
        **{f"PostgreSQL: {name}": make for name, make in POSTGRES_QUERIES.items() if table is POSTGRES_THINGS},
    }


@pytest.fixture
def changes(table: sa.Table) -> dict[str, Make]:
    own = {SQLITE_THINGS: SQLITE_CHANGES, POSTGRES_THINGS: POSTGRES_CHANGES, MARIADB_THINGS: MARIADB_CHANGES}
    return {**{name: partial(make, table) for name, make in CHANGES.items()}, **own[table]}


@pytest.fixture
async def engine(url: str, table: sa.Table) -> AsyncGenerator[AsyncEngine, None]:
    name, rest = url.split(":", 1)
    engine = create_async_engine(f"{DRIVERS[name]}:{rest}", poolclass=NullPool)
    async with engine.begin() as connection:
        if table is POSTGRES_THINGS:
            await connection.execute(sa.text("CREATE TYPE pair AS (n integer, t text)"))
        for each in (table, DEFAULTS, KEYED, SEQUENCED, SILENT):
            await connection.run_sync(each.metadata.create_all)
        await connection.execute(sa.insert(table).values(id=1, **ROWS[name]))
        await connection.execute(sa.insert(DEFAULTS).values(name="first"))
    yield engine
    await engine.dispose()


@pytest.fixture
async def database(engine: AsyncEngine, url: str) -> AsyncGenerator[PooledDatabase, None]:
    async with opened(url, max_size=2) as database:
        yield database
        await wait_until_released(database)


async def result_of(run: Awaitable[Any]) -> Any:
    """Return the result of *run*, or the name of its error."""
    try:
        return await run
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def shown(value: Any) -> Any:
    """Return *value* with its type, at all depths; asyncpg's UUID counts as Python's."""
    if isinstance(value, uuid.UUID):
        return uuid.UUID, value
    if isinstance(value, list):
        return [shown(each) for each in value]
    return type(value).__name__, repr(value)


def rows_of(rows: Any) -> Any:
    return [(list(row.keys()), shown(list(row))) for row in rows]


async def run_by_engine(connection: AsyncConnection, query: Any) -> Any:
    """Return the names and values of the rows of *query*; a mapping would lose columns of the same name."""
    result = await connection.execute(query)
    return [(list(result.keys()), shown(list(row))) for row in result.all()] if result.returns_rows else []


async def fetch_all(database: PooledDatabase, query: Any) -> Any:
    return rows_of(await database.fetch_all(query))


async def iterate(database: PooledDatabase, query: Any) -> Any:
    return rows_of([row async for row in database.iterate(query)])


async def fetch_one(database: PooledDatabase, query: Any) -> Any:
    row = await database.fetch_one(query)
    return rows_of([] if row is None else [row])


async def execute(database: PooledDatabase, query: Any) -> Any:
    return shown(await database.execute(query))


async def unexpected_success(connection: AsyncConnection, database: PooledDatabase, make: Make) -> Any:
    """Return what *make* returns that MariaDB, by SQLAlchemy's engine, has refused, or None."""
    await connection.rollback()
    assert database.dialect == "mysql"
    async with database.transaction(force_rollback=True):
        found = await result_of(fetch_all(database, make()))
    return None if isinstance(found, str) else ("no error", found)


async def query_difference(connection: AsyncConnection, database: PooledDatabase, make: Make) -> Any:
    """Return in what the rows of the query that *make* returns differ, or None."""
    try:
        rows = await run_by_engine(connection, make())
    except SQLAlchemyError:
        return await unexpected_success(connection, database, make)
    await connection.rollback()
    first = rows[0][1][0] if rows else shown(None)
    expected = {fetch_all: rows, iterate: rows, fetch_one: rows[:1], execute: first}
    for read in (fetch_all, fetch_all, iterate, fetch_one, execute):
        found = await result_of(read(database, make()))
        if found != expected[read]:
            return read.__name__, found, expected[read]
    return None


async def test_queries_return_the_rows_of_sqlalchemy(
    engine: AsyncEngine, database: PooledDatabase, queries: Mapping[str, Make]
) -> None:
    async with engine.connect() as connection:
        differences = {name: await query_difference(connection, database, make) for name, make in queries.items()}
    assert {name: each for name, each in differences.items() if each is not None} == {}


@pytest.mark.parametrize("url", ["file"], indirect=True)
async def test_databases_for_reading_return_the_same(
    engine: AsyncEngine, url: str, queries: Mapping[str, Make]
) -> None:
    async with engine.connect() as connection, opened(url, read_only=True, max_size=2) as database:
        differences = {name: await query_difference(connection, database, make) for name, make in queries.items()}
    assert {name: each for name, each in differences.items() if each is not None} == {}


async def test_json_of_an_unknown_type_is_text(database: PooledDatabase) -> None:
    assert isinstance(await database.fetch_val(sa.text("SELECT json FROM things")), str)
    assert isinstance(
        await database.fetch_val(sa.select(sa.literal_column("json")).select_from(sa.table("things"))), str
    )


def contents(table: sa.Table) -> list[Any]:
    """Return queries of the contents of all tables, without numbers that the database assigns."""
    sequenced = (sa.select(each.c.name) for each in (SEQUENCED, SILENT))
    defaults = sa.select(*[each for each in DEFAULTS.c if each.key != "id"])
    return [sa.select(table).order_by(table.c.id), defaults.order_by(DEFAULTS.c.id), sa.select(KEYED), *sequenced]


async def change_difference(connection: AsyncConnection, database: PooledDatabase, make: Make, table: sa.Table) -> Any:
    """Return in what the rows or the effect of the write that *make* returns differ, or None."""
    try:
        expected = await run_by_engine(connection, make())
    except SQLAlchemyError:
        return await unexpected_success(connection, database, make)
    effect = [await run_by_engine(connection, each) for each in contents(table)]
    await connection.rollback()
    for run in (fetch_all, fetch_all, iterate, fetch_one):
        async with database.transaction(force_rollback=True):
            found = await result_of(run(database, make()))
            if found != (expected[:1] if run is fetch_one else expected):
                return run.__name__, found, expected
            after = [await fetch_all(database, each) for each in contents(table)]
            if after != effect:
                return f"effect of {run.__name__}", after, effect
    return None


async def test_writes_have_the_effect_of_sqlalchemy(
    engine: AsyncEngine, database: PooledDatabase, changes: Mapping[str, Make], table: sa.Table
) -> None:
    async with engine.connect() as connection:
        differences = {
            name: await change_difference(connection, database, make, table) for name, make in changes.items()
        }
    assert {name: each for name, each in differences.items() if each is not None} == {}
