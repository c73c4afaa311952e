"""A type is dropped and created again, or changed, while connections have it cached."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import sqlalchemy as sa

from scalekit import Unavailable
from scalekit_pool.database import PooledDatabase
from tests.pool.harness import opened, wait_until_released
from tests.servers import Postgres

pytestmark = [pytest.mark.anyio, pytest.mark.needs("postgres")]

MAKE = (
    "DROP TABLE IF EXISTS things",
    "DROP TYPE IF EXISTS mood, pair",
    "CREATE TYPE mood AS ENUM ('glad', 'sad')",
    "CREATE TYPE pair AS (a int, b text)",
    "CREATE TABLE things (mood mood, moods mood[], pair pair)",
    "INSERT INTO things VALUES ('glad', ARRAY['sad']::mood[], ROW(1, 'x')::pair)",
)
QUERIES: dict[str, tuple[str, dict[str, Any] | None]] = {
    "parameter": ("SELECT count(*) FROM things WHERE mood = :mood", {"mood": "glad"}),
    "cast": ("SELECT CAST(:mood AS mood)", {"mood": "glad"}),
    "all": ("SELECT * FROM things", None),
    "result": ("SELECT mood, moods, pair FROM things", None),
    "array": ("SELECT count(*) FROM things WHERE mood = ANY(CAST(:moods AS mood[]))", {"moods": ["glad"]}),
    "composite": ("SELECT CAST(:pair AS pair)", {"pair": (2, "y")}),
    "insert": (
        "INSERT INTO things (mood, pair) VALUES (:mood, :pair) RETURNING mood",
        {"mood": "sad", "pair": (3, "z")},
    ),
    "update": ("UPDATE things SET mood = :mood WHERE mood = :mood RETURNING 1", {"mood": "glad"}),
}
CONNECTIONS = 3


def make(server: Postgres) -> None:
    for statement in MAKE:
        server.sql(statement)


@pytest.fixture
async def database(shared_postgres: Postgres, postgres_url: str) -> AsyncGenerator[PooledDatabase, None]:
    make(shared_postgres)
    async with opened(postgres_url, max_size=CONNECTIONS) as database:
        await use_all(database)
        yield database
        await wait_until_released(database)


async def use_all(database: PooledDatabase) -> None:
    """Run every query on every connection, which caches it."""
    lent = [await database.driver.writers.acquire() for _ in range(CONNECTIONS)]
    for each in lent:
        for query, values in QUERIES.values():
            statement = database.compiler.compile(query, values)
            await database.driver.fetch_all(each.connection, statement.statement.sql, statement.arguments)
    for each in lent:
        database.driver.writers.release(each)


@pytest.mark.parametrize("name", QUERIES)
async def test_a_statement_of_a_recreated_type_is_run_again(
    name: str, database: PooledDatabase, shared_postgres: Postgres
) -> None:
    for _ in range(2):
        make(shared_postgres)
        for _ in range(2 * CONNECTIONS):
            assert await database.fetch_all(*QUERIES[name])
        async with database.connection() as connection:
            assert await connection.fetch_all(*QUERIES[name])


async def test_a_write_is_executed_once(database: PooledDatabase, shared_postgres: Postgres) -> None:
    make(shared_postgres)
    for _ in range(CONNECTIONS):
        await database.execute(*QUERIES["insert"])
        await database.execute(*QUERIES["update"])
    assert await database.fetch_val("SELECT count(*) FROM things") == 1 + CONNECTIONS


@pytest.mark.parametrize("name", ["parameter", "cast", "update"])
async def test_a_transaction_is_unavailable_once_for_each_connection(
    name: str, database: PooledDatabase, shared_postgres: Postgres
) -> None:
    make(shared_postgres)
    refused = 0
    for _ in range(3 * CONNECTIONS):
        try:
            async with database.transaction():
                await database.fetch_all(*QUERIES[name])
        except Unavailable as error:
            assert "run the transaction again" in str(error)  # noqa: PT017 - it is refused or not
            refused += 1
    assert refused <= CONNECTIONS
    async with database.transaction():
        assert await database.fetch_all(*QUERIES[name])


async def test_insert_many_of_a_recreated_type(database: PooledDatabase, shared_postgres: Postgres) -> None:
    things = sa.table("things", sa.column("mood", sa.Enum("glad", "sad", name="mood")))
    query, values = "INSERT INTO things (mood) VALUES (:mood)", [{"mood": "sad"}, {"mood": "glad"}]
    rows = [{"mood": "sad", "pair": (number, "n")} for number in range(30)]

    async def insert() -> None:
        await database.insert_many("things", rows)
        await database.insert_many("things", rows, returning=["mood"])
        await database.execute_many(query, values)
        await database.execute_many("UPDATE things SET mood = :mood WHERE mood = :mood AND false", values)
        await database.execute_many(sa.insert(things), values)

    for _ in range(2 * CONNECTIONS):
        await insert()
    make(shared_postgres)
    for _ in range(2 * CONNECTIONS):
        await insert()
    assert await database.fetch_val("SELECT count(*) FROM things") == 1 + 2 * CONNECTIONS * 64
    make(shared_postgres)
    async with database.transaction():
        await database.fetch_val("SELECT 1")
        await database.insert_many("things", rows)


async def test_a_stream_of_a_recreated_type(database: PooledDatabase, shared_postgres: Postgres) -> None:
    query = "SELECT mood FROM things WHERE mood = :mood"
    for _ in range(CONNECTIONS):
        assert [row async for row in database.iterate(query, {"mood": "glad"})]
    make(shared_postgres)
    refused = 0
    for _ in range(3 * CONNECTIONS):
        try:
            assert [row async for row in database.iterate(query, {"mood": "glad"})]
        except Unavailable:
            refused += 1
    assert refused <= CONNECTIONS


async def test_columns_that_change_during_a_transaction(database: PooledDatabase, shared_postgres: Postgres) -> None:
    query = "SELECT * FROM things"
    for _ in range(CONNECTIONS):
        await database.fetch_all(query)
    shared_postgres.sql("ALTER TABLE things ADD COLUMN more int")
    refused = 0
    for _ in range(2 * CONNECTIONS):
        try:
            async with database.transaction():
                assert len((await database.fetch_all(query))[0]) == 4
        except Unavailable:
            refused += 1
    assert refused <= CONNECTIONS
    assert len((await database.fetch_all(query))[0]) == 4


async def find(database: PooledDatabase, name: str) -> set[int]:
    """Return the numbers of columns that concurrent transactions, one on each connection, find by a query."""
    begun = asyncio.Barrier(CONNECTIONS)

    async def count() -> int:
        async with database.transaction():
            await begun.wait()
            return len((await database.fetch_all(*QUERIES[name]))[0])

    return {*await asyncio.gather(*(count() for _ in range(CONNECTIONS)))}


async def test_a_change_of_the_schema_by_this_process_fails_no_transaction(database: PooledDatabase) -> None:
    assert await find(database, "all") == {3}
    await database.execute("ALTER TABLE things ADD COLUMN more int")
    await wait_until_released(database)
    assert await find(database, "all") == {4}
    async with database.transaction(force_rollback=True):
        await database.execute("ALTER TABLE things ADD COLUMN again int")
        assert len((await database.fetch_all(*QUERIES["all"]))[0]) == 5
    await wait_until_released(database)
    assert await find(database, "all") == {4}


async def test_statements_that_are_prepared_while_the_schema_changes_fail_no_transaction(
    database: PooledDatabase,
) -> None:
    async def cast() -> None:
        async with database.transaction():
            assert await database.fetch_val(*QUERIES["cast"]) == "glad"

    async with database.transaction():
        for statement in MAKE:
            await database.execute(statement)
        await asyncio.create_task(cast())  # by the previous schema, as the change is not committed
    await wait_until_released(database)
    assert await find(database, "cast") == {1}
