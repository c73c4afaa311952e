from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from functools import partial
from typing import Any

import pytest

from scalekit import Unavailable
from scalekit_pool.connections.driver import RolledBack
from scalekit_pool.database import PooledDatabase
from tests.pool.conftest import POSTGRES
from tests.pool.harness import opened, wait_until_released
from tests.pool.schema import CHILDREN, DUPLICATE, ITEMS, PARENTS, create, names, put

# ruff: noqa: PT012 -- what is inside is one transaction

pytestmark = pytest.mark.anyio

INSERT = "INSERT INTO items (id, name) VALUES (:id, :name)"


@pytest.fixture
async def items(database: PooledDatabase) -> AsyncGenerator[PooledDatabase, None]:
    await create(database, ITEMS)
    yield database
    await wait_until_released(database)


async def test_a_transaction_commits_or_rolls_back(items: PooledDatabase) -> None:
    async with items.transaction():
        await put(items, "a", "b")
    with pytest.raises(KeyError):
        async with items.transaction():
            await put(items, "c")
            raise KeyError
    assert await names(items) == ["a", "b"]


async def test_a_savepoint_rolls_back_alone(items: PooledDatabase) -> None:
    async with items.transaction():
        await put(items, "a")
        with pytest.raises(KeyError):
            async with items.transaction():
                await put(items, "b")
                async with items.transaction():
                    await put(items, "c")
                raise KeyError
        async with items.transaction():
            await put(items, "d")
        assert await names(items) == ["a", "d"]
    assert await names(items) == ["a", "d"]
    with pytest.raises(KeyError):
        async with items.transaction():
            async with items.transaction():
                await put(items, "e")
            raise KeyError
    assert await names(items) == ["a", "d"]


async def test_the_outer_transaction_rolls_back_a_failed_statement(items: PooledDatabase) -> None:
    async with items.transaction():
        await put(items, "a")
        with pytest.raises(Exception, match=DUPLICATE):
            async with items.transaction():
                await put(items, "b", "a")
    assert await names(items) == ["a"]


async def test_a_decorated_function_has_a_transaction_for_each_call(items: PooledDatabase) -> None:
    @items.transaction()
    async def add(name: str, fail: bool = False) -> str:
        await put(items, name)
        if fail:
            raise KeyError
        return name

    assert [await add("a"), await add("b")] == ["a", "b"]
    with pytest.raises(KeyError):
        await add("c", fail=True)
    assert await names(items) == ["a", "b"]


async def test_a_transaction_can_be_ended_explicitly(items: PooledDatabase) -> None:
    transaction = await items.transaction()
    await put(items, "a")
    await transaction.commit()
    transaction = await items.transaction()
    await put(items, "b")
    await transaction.rollback()
    for end in (transaction.commit, transaction.rollback):
        with pytest.raises(RuntimeError, match="has ended"):
            await end()
    assert await names(items) == ["a"]


async def test_force_rollback_rolls_back_a_successful_transaction(items: PooledDatabase) -> None:
    async with items.transaction(force_rollback=True):
        await put(items, "a")
        async with items.transaction():
            await put(items, "b")
        assert await names(items) == ["a", "b"]
    assert await names(items) == []


async def test_an_outer_transaction_does_not_end_before_its_inner_one(items: PooledDatabase) -> None:
    async def forget() -> None:
        async with items.transaction():
            await put(items, "a")
            inner.append(await items.transaction())
            await put(items, "b")

    inner: list[Any] = []
    with pytest.raises(RuntimeError, match="an inner transaction is still open"):
        await forget()
    with pytest.raises(RuntimeError, match="has ended"):
        await inner[0].commit()
    await wait_until_released(items)
    assert await names(items) == []


async def test_a_read_only_transaction_does_not_demote_the_server(items: PooledDatabase) -> None:
    async with items.transaction(readonly=True):
        assert await names(items) == []
    if items.dialect == "postgresql":
        opened_until_now = items.driver.writers.supplier.generation
        with pytest.raises(Exception, match="read-only transaction"):
            async with items.transaction(readonly=True):
                await put(items, "a")
        assert items.driver.writers.supplier.generation == opened_until_now


@pytest.mark.parametrize("url", [POSTGRES], indirect=True)
async def test_the_isolation_level_and_options_are_applied(items: PooledDatabase) -> None:
    for isolation in ("serializable", "repeatable_read", "read_committed"):
        async with items.transaction(isolation=isolation, readonly=True, deferrable=True):
            assert await items.fetch_val("SHOW transaction_isolation") == isolation.replace("_", " ")
            assert await items.fetch_val("SHOW transaction_read_only") == "on"
            assert await items.fetch_val("SHOW transaction_deferrable") == "on"
    assert await items.fetch_val("SHOW transaction_read_only") == "off"


async def test_unknown_options_are_refused(items: PooledDatabase) -> None:
    mistakes: list[tuple[dict[str, Any], str]] = [
        ({"isolation": "snapshot"}, "unknown isolation level 'snapshot'"),
        ({"isolaton": "serializable"}, "unknown transaction option 'isolaton'"),
    ]
    for options, message in mistakes:
        with pytest.raises(ValueError, match=message):
            async with items.transaction(**options):
                pass


@pytest.mark.parametrize("url", ["file", "memory", POSTGRES], indirect=True)
async def test_a_swallowed_error_does_not_look_like_a_commit(items: PooledDatabase) -> None:
    """SQLite rolls back only a failed statement, PostgreSQL its transaction."""
    if items.dialect == "sqlite":
        await items.execute("CREATE TRIGGER refuse BEFORE DELETE ON items BEGIN SELECT RAISE(ROLLBACK, 'refused'); END")

    async def swallow(name: str) -> None:
        async with items.transaction():
            await put(items, name)
            with pytest.raises(Exception, match=r"refused|absent"):
                await items.execute("DELETE FROM items" if items.dialect == "sqlite" else "DELETE FROM absent")
            if name == "b":
                await put(items, "c")

    for name in "ab":
        with pytest.raises((RolledBack, Exception), match=r"rolled back|aborted"):
            await swallow(name)
    assert await names(items) == []


@pytest.mark.parametrize("url", ["file", "memory", POSTGRES], indirect=True)  # MySQL checks at once
async def test_a_failed_commit_raises_and_rolls_back(items: PooledDatabase) -> None:
    await create(items, PARENTS, CHILDREN)
    with pytest.raises(Exception, match=r"(?i)foreign key"):
        async with items.transaction():
            await items.execute("INSERT INTO children VALUES (1, 2)")
    await wait_until_released(items)
    with pytest.raises(Exception, match=r"(?i)foreign key"):
        await items.fetch_one("INSERT INTO children VALUES (1, 2), (3, 2), (4, 2) RETURNING id")
    assert await items.fetch_val("SELECT count(*) FROM children") == 0
    async with items.transaction():
        await items.execute("INSERT INTO children VALUES (1, 2)")
        await items.execute("INSERT INTO parents VALUES (2)")
    assert await items.fetch_val("SELECT count(*) FROM children") == 1


@pytest.mark.parametrize("url", ["file"], indirect=True)
async def test_a_failed_begin_releases_its_connection(open_database: Any, url: str) -> None:
    async with open_database(acquire_timeout="250ms") as database, opened(url) as other:
        await create(database, ITEMS)
        async with other.transaction():
            with pytest.raises(Unavailable, match="timed out waiting for a lock"):
                async with database.transaction():
                    pass
        await wait_until_released(database)
        async with database.transaction():
            await put(database, "a")
        assert await names(database) == ["a"]


async def test_statements_after_an_interrupted_write_are_rolled_back_too(items: PooledDatabase) -> None:
    """SQLite rolls back the transaction, and runs later statements outside of it."""
    endless = "WITH RECURSIVE n(i) AS (SELECT 1000 UNION ALL SELECT i + 1 FROM n WHERE i < 100000000) "
    insert = "INSERT INTO items (id, name) SELECT i, 'n' || i FROM n"
    slow = f"{endless}{insert}"
    if items.dialect == "mysql":
        slow = "INSERT INTO items (id, name) SELECT 1000, SLEEP(60)"

    async def cut() -> None:
        async with items.transaction():
            await put(items, "a")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await items.execute(slow)
            await put(items, "b")

    with pytest.raises(Exception, match=r"rolled back|aborted|lost"):
        await cut()
    await wait_until_released(items)
    assert await names(items) == []


@pytest.mark.parametrize("url", ["file", "memory", POSTGRES], indirect=True)  # on MySQL the connection is closed
async def test_a_session_continues_after_an_interrupted_transaction(items: PooledDatabase) -> None:
    slow = "SELECT pg_sleep(60)"
    if items.dialect == "sqlite":
        slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    async with items.connection() as connection:
        for name in "ab":
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05), items.transaction():
                    await put(items, "x")
                    await connection.fetch_all(slow)
            await put(items, name)
        async with connection.transaction():
            await put(connection, "c")
    await wait_until_released(items)
    assert await names(items) == ["a", "b", "c"]


async def test_callbacks_run_in_order_once_all_is_committed(items: PooledDatabase) -> None:
    called: list[str] = []

    async def call(name: str) -> None:
        called.append(f"{name} {len(await names(items))}")

    await items.on_commit(partial(call, "at once"))
    async with items.transaction():
        await items.on_commit(partial(call, "first"))
        async with items.transaction():
            await put(items, "a")
            await items.on_commit(partial(call, "inner"))
        with pytest.raises(KeyError):
            async with items.transaction():
                await items.on_commit(partial(call, "rolled back"))
                raise KeyError
        await items.on_commit(partial(call, "last"))
        assert called == ["at once 0"]
    assert called == ["at once 0", "first 1", "inner 1", "last 1"]
    with pytest.raises(KeyError):
        async with items.transaction():
            await items.on_commit(partial(call, "never"))
            raise KeyError
    assert len(called) == 4
