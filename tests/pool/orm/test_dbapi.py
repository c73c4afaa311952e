"""When a connection of a session begins a transaction, and when it holds one of the pool."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from scalekit import Unavailable
from scalekit_pool.database import PooledDatabase
from tests.pool.conftest import POSTGRES
from tests.pool.harness import all_released, opened, wait_until_released
from tests.pool.orm.shop import Author, shop

pytestmark = pytest.mark.anyio

OPEN = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'"


@pytest.mark.parametrize("url", [POSTGRES], indirect=True)
async def test_reads_run_without_a_transaction_until_the_first_write(database: PooledDatabase) -> None:
    async with shop(database) as session:
        assert await session.scalar(select(Author.name)) == "anna"
        assert all_released(database)
        assert await database.fetch_val(OPEN) == 0
        await session.execute(text("UPDATE authors SET name = 'b'"))
        assert await database.fetch_val(OPEN) == 1
        await session.commit()
        assert await session.scalar(select(Author.name)) == "b"
        assert await database.fetch_val(OPEN) == 0
        await session.scalars(select(Author).with_for_update())
        assert not all_released(database)
        await session.rollback()
        assert all_released(database)


@pytest.mark.parametrize("url", [POSTGRES], indirect=True)
async def test_an_isolation_level_begins_at_once_and_ends_with_the_transaction(database: PooledDatabase) -> None:
    level = text("SHOW transaction_isolation")
    async with shop(database) as session:
        await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        assert await session.scalar(level) == "repeatable read"
        assert len((await session.scalars(select(Author))).all()) == 1
        assert not all_released(database)
        async with database.sessions() as other, other.begin():
            other.add(Author(name="bob"))
        assert len((await session.scalars(select(Author))).all()) == 1
        await session.commit()
        assert await session.scalar(level) == "read committed"
        assert all_released(database)


async def test_autocommit_holds_one_connection_without_a_transaction(database: PooledDatabase) -> None:
    async with shop(database) as session:
        connection = await session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
        dbapi: Any = (await connection.get_raw_connection()).dbapi_connection
        assert dbapi.autocommit
        dbapi.autocommit = False
        assert dbapi.isolation is None
        dbapi.autocommit = True
        await connection.execute(text("UPDATE authors SET name = 'b'"))
        assert not all_released(database)
        await session.rollback()
        assert all_released(database)
        assert await session.scalar(select(Author.name)) == "b"


@pytest.mark.parametrize("url", [POSTGRES], indirect=True)
async def test_a_read_only_transaction_refuses_writes(database: PooledDatabase) -> None:
    async with shop(database) as session:
        await session.connection(execution_options={"postgresql_readonly": True})
        assert await session.scalar(text("SHOW transaction_read_only")) == "on"
        await session.rollback()
        assert await session.scalar(text("SHOW transaction_read_only")) == "off"


async def test_sessions_wait_for_connections_within_the_limits_of_the_pool(url: str) -> None:
    async with opened(url, max_size=1, acquire_timeout="50ms") as database, shop(database) as session:
        session.add(Author(name="bob"))
        await session.flush()
        async with database.sessions() as other:
            other.add(Author(name="carl"))
            with pytest.raises(Unavailable, match="acquire_timeout"):
                await asyncio.create_task(other.flush())
        await session.commit()
        async with database.sessions() as other, other.begin():
            other.add(Author(name="carl"))


async def test_a_cancelled_statement_releases_the_connection(database: PooledDatabase) -> None:
    async def use() -> None:
        async with database.sessions() as session:
            session.add(Author(name="bob"))
            await session.flush()
            started.set()
            await session.execute(endless)

    slow = "SELECT pg_sleep(60), pg_advisory_lock(1)"
    if database.dialect == "sqlite":
        rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
        slow = f"UPDATE authors SET name = ({rows})"
    endless, started = text(slow), asyncio.Event()
    async with shop(database) as session:
        task = asyncio.create_task(use())
        await started.wait()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await wait_until_released(database)
        assert [*(await session.scalars(select(Author.name)))] == ["anna"]


@pytest.mark.parametrize("url", [POSTGRES], indirect=True)
async def test_a_wrong_value_is_an_error_of_sqlalchemy(database: PooledDatabase) -> None:
    async with shop(database) as session:
        wrong: Any = "text"
        with pytest.raises(DBAPIError, match="query argument"):
            await session.get(Author, wrong)
        assert all_released(database)
