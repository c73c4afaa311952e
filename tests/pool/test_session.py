"""Session state of one use of a connection is not visible to the next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from scalekit_pool.database import PooledDatabase
from tests.pool.conftest import POSTGRES
from tests.pool.harness import opened, wait_until_released
from tests.servers import Postgres

pytestmark = pytest.mark.anyio

# A change of the session, and a query whose result shows it.
POSTGRES_TRACES = {
    "setting": ("SET work_mem = '1MB'", "SHOW work_mem"),
    "local name": ("SET search_path = pg_temp", "SHOW search_path"),
    "time-out": ("SET statement_timeout = 1", "SHOW statement_timeout"),
    "role": ("SET ROLE another", "SELECT current_user"),
    "authorization": ("SET SESSION AUTHORIZATION another", "SELECT session_user"),
    "temporary table": ("CREATE TEMPORARY TABLE left_over (a int)", "SELECT to_regclass('left_over')"),
    "selected table": ("SELECT replace('a', 'b', 'c') AS a INTO TEMP left_over", "SELECT to_regclass('left_over')"),
    "lock": ("SELECT pg_advisory_lock(7)", "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"),
    "transaction": ("BEGIN", "SELECT now() = statement_timestamp()"),
    "listening": ("LISTEN somewhere", "SELECT count(*) FROM pg_listening_channels()"),
    "prepared": (
        'PREPARE "odd ""name" AS SELECT 1',
        "SELECT count(*) FROM pg_prepared_statements WHERE from_sql",
    ),
    "cursor": ("DECLARE left_over CURSOR WITH HOLD FOR SELECT 1", "SELECT count(*) FROM pg_cursors"),
    "function": ("SELECT set_config('work_mem', '1MB', false)", "SHOW work_mem"),
    "inner function": ("SELECT count(pg_catalog.set_config('work_mem', '1MB', false))", "SHOW work_mem"),
    "block": ("DO $$ BEGIN PERFORM set_config('work_mem', '1MB', false); END $$", "SHOW work_mem"),
}
SQLITE_TRACES = {
    "pragma": ("PRAGMA recursive_triggers = ON", "PRAGMA recursive_triggers"),
    "time-out": ("PRAGMA busy_timeout = 1", "PRAGMA busy_timeout"),
    "foreign keys": ("PRAGMA foreign_keys = OFF", "PRAGMA foreign_keys"),
    "read only": ("PRAGMA query_only = ON", "PRAGMA query_only"),
    "comparison": ("PRAGMA case_sensitive_like = ON", "SELECT 'a' LIKE 'A'"),
    "temporary table": ('CREATE TEMPORARY TABLE "left ""over" (a)', "SELECT count(*) FROM sqlite_temp_master"),
    "temporary view": ("CREATE TEMP VIEW left_over AS SELECT 1", "SELECT count(*) FROM sqlite_temp_master"),
    "attached": ("ATTACH ':memory:' AS \"left over\"", "SELECT count(*) FROM pragma_database_list"),
    "transaction": ("BEGIN", None),
}


async def by_statement(database: PooledDatabase, trace: str) -> None:
    await database.execute(trace)


async def by_fetching(database: PooledDatabase, trace: str) -> None:
    await database.fetch_all(trace)


async def by_connection(database: PooledDatabase, trace: str) -> None:
    async with database.connection() as connection:
        await connection.execute(trace)


async def by_driver(database: PooledDatabase, trace: str) -> None:
    async with database.connection() as connection:
        await connection.raw_connection.execute(trace)


async def by_failing(database: PooledDatabase, trace: str) -> None:
    try:
        async with database.connection() as connection:
            await connection.execute(trace)
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass


WAYS = [by_statement, by_fetching, by_connection, by_driver, by_failing]


@pytest.fixture
async def postgres(shared_postgres: Postgres, postgres_url: str) -> AsyncGenerator[PooledDatabase, None]:
    shared_postgres.sql("DO $$ BEGIN CREATE ROLE another; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    async with opened(postgres_url, max_size=1) as database:
        yield database


@pytest.fixture(params=["file", "memory"])
async def sqlite(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[PooledDatabase, None]:
    async with opened("sqlite:///:memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/a.db") as database:
        yield database


@pytest.mark.needs("postgres")
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_the_reset_clears_a_postgresql_session(
    postgres: PooledDatabase, way: Callable[[PooledDatabase, str], Awaitable[None]]
) -> None:
    pid = await postgres.fetch_val("SELECT pg_backend_pid()")
    for name, (trace, left) in POSTGRES_TRACES.items():
        before = await postgres.fetch_val(left)
        await way(postgres, trace)
        await wait_until_released(postgres)  # else another connection is opened while it is reset
        assert await postgres.fetch_val(left) == before, name
    assert await postgres.fetch_val("SELECT pg_backend_pid()") == pid


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_the_reset_clears_a_sqlite_session(
    sqlite: PooledDatabase, way: Callable[[PooledDatabase, str], Awaitable[None]]
) -> None:
    async def found(left: str | None) -> Any:
        await wait_until_released(sqlite)
        async with sqlite.connection() as connection:
            raw = connection.raw_connection  # of the idle writer connection
            return await connection.fetch_val(left) if left else raw.in_transaction

    await sqlite.execute("CREATE TABLE kept (a)")
    for name, (trace, left) in SQLITE_TRACES.items():
        before = await found(left)
        await wait_until_released(sqlite)
        await way(sqlite, trace)
        assert await found(left) == before, name
    await sqlite.execute("INSERT INTO kept VALUES (1)")
    assert await sqlite.fetch_val("SELECT count(*) FROM kept") == 1


async def test_an_open_transaction_is_rolled_back_before_the_next_use(sqlite: PooledDatabase) -> None:
    async with sqlite.connection() as connection:
        raw = connection.raw_connection
        await raw.execute("CREATE TABLE kept (a)")
        raw.row_factory = None
        raw.text_factory = bytes
        await raw.execute("BEGIN")
        await raw.execute("INSERT INTO kept VALUES (1)")
    await wait_until_released(sqlite)
    assert await sqlite.fetch_val("SELECT count(*) FROM kept") == 0
    async with sqlite.connection() as connection:
        row = await connection.fetch_one("SELECT 'text' AS name")
        assert row is not None
        assert row.name == "text"


@pytest.mark.needs("postgres")
async def test_listeners_and_type_codecs_do_not_outlive_the_session(postgres: PooledDatabase) -> None:
    heard: list[Any] = []
    async with postgres.connection() as connection:
        raw = connection.raw_connection
        await raw.add_listener("somewhere", lambda *event: heard.append(event))
    await postgres.execute("NOTIFY somewhere")
    await postgres.fetch_val("SELECT 1")
    assert heard == []
    async with postgres.connection() as connection:
        raw = connection.raw_connection
        await raw.set_type_codec("json", schema="pg_catalog", encoder=str, decoder=lambda text: "another's")
        assert await connection.fetch_val("SELECT '1'::json") == "another's"
    assert await postgres.fetch_val("SELECT '1'::json") == "1"


@pytest.mark.parametrize("url", [POSTGRES], indirect=True)
async def test_reset_session_always_resets_after_every_statement(open_database: Any) -> None:
    define = (
        "CREATE FUNCTION total(a int) RETURNS text LANGUAGE sql AS $$ SELECT set_config('work_mem', '1MB', false) $$"
    )
    for reset, left in (("when-needed", "1MB"), ("always", "4MB")):
        async with open_database(max_size=1, reset_session=reset) as database:
            if reset == "when-needed":
                await database.execute(define)
            await database.fetch_val("SELECT total(1)")
            assert await database.fetch_val("SHOW work_mem") == left


@pytest.mark.needs("postgres")
async def test_a_connection_whose_reset_fails_is_closed(postgres: PooledDatabase, postgres_url: str) -> None:
    pid = await postgres.fetch_val("SELECT pg_backend_pid()")
    async with postgres.connection() as connection:
        raw = connection.raw_connection
        other = await asyncpg.connect(postgres_url)
        await other.execute("SELECT pg_terminate_backend($1)", pid)
        await other.close()
    async with asyncio.timeout(60):
        assert await postgres.fetch_val("SELECT pg_backend_pid()") != pid
    assert raw.is_closed()
    await wait_until_released(postgres)


@pytest.mark.needs("postgres")
async def test_an_unfinished_cursor_does_not_outlive_the_session(postgres: PooledDatabase) -> None:
    for _ in range(2):
        async with postgres.connection() as connection:
            rows = connection.iterate("SELECT * FROM generate_series(1, 1000)")
            await anext(rows)
            await rows.aclose()
        assert await postgres.fetch_val("SELECT count(*) FROM pg_cursors WHERE name <> ''") == 0
