"""On SQLite sessions use the writer connection only for writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from scalekit import ReadOnlyError, Unavailable
from scalekit_pool.database import PooledDatabase
from scalekit_pool.sqlite.driver import MAX_READERS
from tests.pool.harness import opened, wait_until, wait_until_released

pytestmark = pytest.mark.anyio

COUNT = "SELECT count(*) FROM items"
INSERT = "INSERT INTO items VALUES (1)"


@pytest.fixture
async def database(tmp_path: Path) -> AsyncGenerator[PooledDatabase, None]:
    async with opened(f"sqlite:///{tmp_path}/a.db", acquire_timeout="30s") as database:
        await database.execute("CREATE TABLE items (number int)")
        yield database
        await wait_until_released(database)


async def insert_in_session(database: PooledDatabase) -> None:
    async with database.connection() as connection:
        await connection.fetch_val(COUNT)
        await connection.execute(INSERT)


async def test_a_reading_session_does_not_wait_for_the_writer(database: PooledDatabase) -> None:
    async with database.transaction():
        await database.execute(INSERT)

        async def read() -> int:
            async with database.connection() as connection:
                return int(await connection.fetch_val(COUNT))

        assert await asyncio.create_task(read()) == 0


async def test_a_reading_session_does_not_block_writers(database: PooledDatabase) -> None:
    async with database.connection() as connection:
        assert await connection.fetch_val(COUNT) == 0
        await asyncio.create_task(insert_in_session(database))
        assert await connection.fetch_val(COUNT) == 1


async def test_statements_after_a_write_use_the_same_connection(database: PooledDatabase) -> None:
    async with database.connection() as connection:
        assert await connection.fetch_val(COUNT) == 0
        await connection.execute("CREATE TEMP TABLE own AS SELECT 5 AS number")
        assert await connection.fetch_val("SELECT number FROM own") == 5
        async with connection.transaction():
            await connection.execute(INSERT)
            assert await connection.fetch_val(COUNT) == 1
        assert database.driver.readers.idle == database.driver.readers.supplier.size
    with pytest.raises(Exception, match="no such table"):
        await database.fetch_val("SELECT number FROM own")


async def test_an_iteration_continues_while_its_session_writes(database: PooledDatabase) -> None:
    await database.execute_many("INSERT INTO items VALUES (:number)", [{"number": number} for number in range(300)])
    seen = 0
    async with database.connection() as connection:
        async for _ in connection.iterate("SELECT number FROM items"):
            if seen % 100 == 0:
                await connection.execute(INSERT)
            seen += 1
        assert await connection.fetch_val(COUNT) == 303
    assert seen == 300


async def test_tasks_that_wait_to_write_do_not_block_readers(database: PooledDatabase) -> None:
    async with database.transaction():
        await database.execute(INSERT)
        waiting = [asyncio.create_task(insert_in_session(database)) for _ in range(2 * MAX_READERS)]
        await wait_until(lambda: database.driver.writers.waiting == len(waiting))
        assert await asyncio.create_task(database.fetch_val(COUNT)) == 0
    await asyncio.gather(*waiting)
    assert await database.fetch_val(COUNT) == 1 + len(waiting)


async def test_a_session_can_read_after_a_failed_write(
    database: PooledDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    acquired = asyncio.Event()
    free = asyncio.Event()

    async def hold() -> None:
        async with database.transaction():
            acquired.set()
            await free.wait()

    holder = asyncio.create_task(hold())
    await acquired.wait()
    writers = database.driver.writers
    async with database.connection() as connection:
        with monkeypatch.context() as impatient:
            impatient.setattr(writers, "limits", replace(writers.limits, acquire_timeout=0.05))
            with pytest.raises(Unavailable):
                await connection.execute(INSERT)
        assert await connection.fetch_val(COUNT) == 0
        free.set()
        await holder
        await connection.execute(INSERT)
        assert await connection.fetch_val(COUNT) == 1


async def test_a_read_only_transaction_waits_for_no_writer_and_sees_one_snapshot(database: PooledDatabase) -> None:
    async with database.transaction(readonly=True):
        assert await database.fetch_val(COUNT) == 0
        await asyncio.create_task(insert_in_session(database))
        assert await database.fetch_val(COUNT) == 0
        async with database.transaction():
            with pytest.raises(ReadOnlyError):
                await database.execute(INSERT)
    assert await database.fetch_val(COUNT) == 1


@pytest.mark.parametrize("is_busy", [False, True])
async def test_the_raw_connection_can_always_write(database: PooledDatabase, is_busy: bool) -> None:
    async with AsyncExitStack() as stack:
        if is_busy:
            lent = await database.driver.writers.acquire()
            stack.callback(database.driver.writers.release, lent)
        async with database.connection() as connection:
            assert await connection.fetch_val(COUNT) == 0
            raw = connection.raw_connection
            await raw.execute_fetchall(INSERT)
            assert connection.raw_connection is raw
            await connection.execute(INSERT)
            assert connection.raw_connection is raw
            assert await connection.fetch_val(COUNT) == 2
    await wait_until_released(database)
    async with database.transaction(readonly=True):
        with pytest.raises(ReadOnlyError):
            await database.execute(INSERT)
