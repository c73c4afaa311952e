"""The table observer receives written tables after the commit, and none of rolled-back writes."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import aclosing, nullcontext
from typing import Any

import pytest

from scalekit import Unavailable
from scalekit_pool.database import PooledDatabase
from tests.pool.harness import opened
from tests.pool.schema import INSERT, ITEMS
from tests.pool.table_recorder import ITEMS_ONLY, ONE, Recorder

# ruff: noqa: PT012 -- what is inside is one transaction

pytestmark = pytest.mark.anyio
Method = Callable[[PooledDatabase], Awaitable[Any]]


async def fetch_all(database: Any) -> None:
    await database.fetch_all("SELECT * FROM items")


async def fetch_one(database: Any) -> None:
    await database.fetch_one("SELECT * FROM items WHERE id = :id", {"id": 1})


async def fetch_val(database: Any) -> None:
    await database.fetch_val("SELECT count(*) FROM items")


async def iterate(database: Any) -> None:
    async with aclosing(database.iterate("SELECT * FROM items")) as rows:
        _ = [row async for row in rows]


async def expression(database: Any) -> None:
    await database.fetch_all(ITEMS.select())


async def select(database: Any) -> None:
    await database.select(ITEMS, "id", where=ITEMS.c.id == 1)


@pytest.mark.parametrize("method", [fetch_all, fetch_one, fetch_val, iterate, expression, select])
async def test_every_read_method_reports_the_tables_read(
    observed: PooledDatabase, recorder: Recorder, method: Method
) -> None:
    await method(observed)
    async with observed.connection() as session:
        await method(session)  # type: ignore[arg-type]
    async with observed.transaction(readonly=True):
        await method(observed)
    assert set(recorder.read_tables) == {ITEMS_ONLY}
    assert len(recorder.read_tables) >= 3
    assert recorder.written == recorder.possibly_written == []


async def execute(database: Any) -> None:
    await database.execute(INSERT, ONE)


async def execute_expression(database: Any) -> None:
    await database.execute(ITEMS.insert(), ONE)


async def execute_many(database: Any) -> None:
    await database.execute_many(INSERT, [ONE])


async def insert_many(database: Any) -> None:
    await database.insert_many("items", [ONE])


async def copy(database: Any) -> None:
    await database.insert_many("items", [{"id": n, "name": f"n{n}"} for n in range(1, 20)])


async def insert_returning(database: Any) -> None:
    await database.insert_many(ITEMS, [ONE], skip_duplicates=True, returning=["id"])


async def fetch_returning(database: Any) -> None:
    await database.fetch_one(INSERT + " RETURNING id", ONE)


async def iterate_returning(database: Any) -> None:
    if database.compiler.driver.dialect == "postgresql":  # PostgreSQL opens no cursor for a write
        await database.fetch_all(INSERT + " RETURNING id", ONE)
        return
    async with aclosing(database.iterate(INSERT + " RETURNING id", ONE)) as rows:
        _ = [row async for row in rows]


async def with_clause(database: Any) -> None:
    insert, select = "INSERT INTO items (id, name)", "SELECT 1, 'a' FROM w"
    clause = "WITH w AS (SELECT 1)"
    on_mysql = database.compiler.driver.dialect == "mysql"
    await database.execute(f"{insert} {clause} {select}" if on_mysql else f"{clause} {insert} {select}")


WRITES = [execute, execute_expression, execute_many, insert_many, copy, insert_returning, fetch_returning,
          iterate_returning, with_clause]  # fmt: skip


@pytest.mark.parametrize("method", WRITES)
async def test_every_write_method_reports_the_tables_after_the_commit(
    observed: PooledDatabase, recorder: Recorder, method: Method
) -> None:
    await method(observed)
    assert set(recorder.written) == {ITEMS_ONLY}
    assert all(recorder.seen), "reported before the write was visible to others"
    assert frozenset().union(*filter(None, recorder.read_tables)) >= ITEMS_ONLY


@pytest.mark.parametrize("method", WRITES)
async def test_a_session_reports_the_same_tables(observed: PooledDatabase, recorder: Recorder, method: Method) -> None:
    async with observed.connection() as session:
        await method(session)  # type: ignore[arg-type]
        assert set(recorder.written) == {ITEMS_ONLY}
    assert set(recorder.written) == {ITEMS_ONLY}
    assert all(recorder.seen)


@pytest.mark.parametrize("method", WRITES)
async def test_a_transaction_reports_its_tables_at_the_commit(
    observed: PooledDatabase, recorder: Recorder, method: Method
) -> None:
    async with observed.transaction():
        async with observed.transaction():
            await method(observed)
        assert recorder.written == []
    assert recorder.written == [ITEMS_ONLY]
    assert all(recorder.seen)


@pytest.mark.parametrize("method", WRITES)
async def test_rolled_back_writes_are_not_reported(
    observed: PooledDatabase, recorder: Recorder, method: Method
) -> None:
    with pytest.raises(KeyError):
        async with observed.transaction():
            await method(observed)
            raise KeyError
    async with observed.transaction(force_rollback=True):
        await method(observed)
    assert recorder.written == recorder.possibly_written == []
    await method(observed)
    assert set(recorder.written) == {ITEMS_ONLY}


async def test_insert_soon_reports_its_table_before_it_returns(observed: PooledDatabase, recorder: Recorder) -> None:
    await asyncio.gather(*(observed.insert_soon(ITEMS, {"id": n, "name": str(n)}) for n in range(10)))
    assert set(recorder.written) == {ITEMS_ONLY}
    assert all(recorder.seen)
    assert ITEMS_ONLY in recorder.read_tables
    recorder.forget()
    async with observed.transaction():
        await observed.insert_soon(ITEMS, {"id": 20, "name": "20"})
        assert recorder.written == []
    assert recorder.written == [ITEMS_ONLY]


async def test_writes_of_a_rolled_back_savepoint_may_be_reported(observed: PooledDatabase, recorder: Recorder) -> None:
    async with observed.transaction():
        await observed.execute(INSERT, ONE)
        with pytest.raises(KeyError):
            async with observed.transaction():
                await observed.execute("INSERT INTO parents (id) VALUES (1)")
                raise KeyError
    (reported,) = recorder.written
    assert reported is not None
    assert reported >= ITEMS_ONLY


async def test_an_unknown_statement_may_read_and_write_anything(observed: PooledDatabase, recorder: Recorder) -> None:
    await observed.execute("CREATE TABLE more (id INTEGER)")
    assert (recorder.read_tables, recorder.written) == ([None], [None])
    recorder.forget()
    with pytest.raises(KeyError):
        async with observed.transaction():
            await observed.execute("DROP TABLE more")
            raise KeyError
    assert recorder.written == [None], "it might have been a COMMIT"


async def test_the_raw_connection_may_read_and_write_anything(observed: PooledDatabase, recorder: Recorder) -> None:
    async with observed.connection() as session:
        raw = session.raw_connection
        assert recorder.read_tables == [None]
        await raw.execute("INSERT INTO items (id, name) VALUES (1, 'a')")
        if observed.dialect == "sqlite":
            await raw.commit()
    assert recorder.written == [None]
    assert all(recorder.seen)
    recorder.forget()
    await observed.execute("DELETE FROM items")
    assert recorder.written == [ITEMS_ONLY], "the raw connection was released"
    recorder.forget()
    with pytest.raises(KeyError):
        async with observed.transaction():
            _ = observed.connection().raw_connection
            raise KeyError
    assert recorder.written[0] is None


async def test_a_read_only_database_reports_unknown_tables(
    url: str, recorder: Recorder, observed: PooledDatabase
) -> None:
    async with opened(url, observer=recorder, read_only=True, acquire_timeout="10ms") as replica:
        # Another in-memory database has no table, and this PostgreSQL is no standby.
        with nullcontext() if url.endswith(("test.db", "shop")) else pytest.raises((sqlite3.Error, Unavailable)):
            await replica.fetch_all("SELECT * FROM items")
    assert recorder.read_tables == [None]


async def test_without_an_observer_no_statement_is_parsed(url: str) -> None:
    async with opened(url) as database:
        assert database.compiler.parser._find_tables is None


async def test_a_refused_connection_reports_no_tables(observed: PooledDatabase, recorder: Recorder) -> None:
    await observed.disconnect()
    with pytest.raises(Unavailable):
        await observed.execute(INSERT, ONE)
    assert recorder.written == recorder.possibly_written == []
    await observed.connect()
