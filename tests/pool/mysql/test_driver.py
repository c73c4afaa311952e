from __future__ import annotations

import asyncio
import contextlib
from typing import Any, cast

import pytest
from asyncmy import errors
from asyncmy.constants import COMMAND

from scalekit import ReadOnlyError, Unavailable
from scalekit_pool.connections.driver import Failure, RolledBack
from scalekit_pool.database import PooledDatabase
from scalekit_pool.health import check_writes
from tests.pool.harness import opened, wait_until_released
from tests.servers import MariaDB

pytestmark = [pytest.mark.anyio, pytest.mark.needs("mariadb")]

ENDLESS = "SELECT BENCHMARK(1000000000000, SHA2('a', 512))"  # unlike SLEEP it does not notice that the client is gone
RUNNING = "SELECT count(*) FROM information_schema.processlist WHERE info LIKE '%BENCHMARK%' AND id <> CONNECTION_ID()"


async def put(database: Any, name: str) -> Any:
    return await database.execute("INSERT INTO items (name) VALUES (:name)", {"name": name})


async def test_execute_returns_a_generated_key_or_the_number_of_rows(maria: PooledDatabase) -> None:
    assert [await put(maria, "a"), await put(maria, "b")] == [1, 2]
    assert await maria.execute("UPDATE items SET name = name") == 2, "rows that were found"
    assert await maria.execute("SELECT name FROM items WHERE id = 2") == "b"
    assert await maria.execute("DELETE FROM items WHERE id > 5") == 0
    assert await maria.execute("INSERT INTO items (name) VALUES ('c') RETURNING name") == "c"


async def test_a_transaction_that_the_server_rolled_back_does_not_go_on(maria: PooledDatabase) -> None:
    """After a deadlock, later statements would be committed one by one."""
    await maria.insert_many("items", [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}])
    locked = asyncio.Barrier(2)
    outcomes: list[str] = []

    async def change(first: int, second: int) -> None:
        try:
            async with maria.transaction():
                await maria.execute("UPDATE items SET name = :name WHERE id = :id", {"id": first, "name": f"x{first}"})
                await locked.wait()
                with contextlib.suppress(errors.OperationalError):
                    await maria.execute("SELECT id FROM items WHERE id = :id FOR UPDATE", {"id": second})
                await put(maria, f"x{first} too")
            outcomes.append("committed")
        except RolledBack as error:
            assert "rolled back by the server" in str(error)  # noqa: PT017
            outcomes.append("rolled back")

    await asyncio.gather(change(1, 2), change(2, 1))
    assert sorted(outcomes) == ["committed", "rolled back"]
    assert await maria.fetch_val("SELECT count(*) FROM items WHERE name LIKE 'x%'") == 2, "of one transaction"


async def test_a_failed_statement_leaves_the_transaction_open(maria: PooledDatabase) -> None:
    async with maria.transaction():
        await put(maria, "a")
        with pytest.raises(Exception, match="Duplicate"):
            await put(maria, "a")
        await put(maria, "b")
    assert await maria.fetch_val("SELECT count(*) FROM items") == 2


async def test_ddl_commits_and_the_transaction_goes_on_after_it(maria: PooledDatabase) -> None:
    async with maria.transaction(isolation="serializable", force_rollback=True):
        await put(maria, "before")
        await maria.execute("CREATE TABLE made (a INT)")
        await put(maria, "after")
    assert [row.name for row in await maria.fetch_all("SELECT name FROM items")] == ["before"]


async def test_the_isolation_level_is_that_of_the_transaction(maria: PooledDatabase, mariadb_url: str) -> None:
    async with opened(mariadb_url) as other:
        for isolation, change in (("repeatable_read", 0), ("read_committed", 1)):
            async with maria.transaction(isolation=isolation):
                before = await maria.fetch_val("SELECT count(*) FROM items")
                await put(other, isolation)
                assert await maria.fetch_val("SELECT count(*) FROM items") == before + change
    with pytest.raises(Exception, match="READ ONLY"):
        async with maria.transaction(readonly=True):
            await put(maria, "c")
    assert maria.driver.write_doubt is None


async def test_a_cancelled_statement_ends_on_the_server_with_its_transaction(maria: PooledDatabase) -> None:
    async def insert_slowly() -> None:
        async with maria.transaction():
            await put(maria, "a")
            await maria.fetch_val(ENDLESS)

    task = asyncio.create_task(insert_slowly())
    async with opened(maria.url._url) as other:
        while not await other.fetch_val(RUNNING):
            pass
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while await other.fetch_val(RUNNING):
            pass
        await put(other, "a")  # would wait for the lock
    await wait_until_released(maria)
    assert await maria.fetch_val("SELECT count(*) FROM items") == 1


async def test_closing_the_database_waits_until_a_cancelled_statement_is_told_to_end(mariadb_url: str) -> None:
    async with opened(mariadb_url) as other:
        async with opened(mariadb_url) as database:
            task = asyncio.create_task(database.fetch_val(ENDLESS))
            while not await other.fetch_val(RUNNING):
                pass
            task.cancel()
            await asyncio.wait([task])
        connector: Any = cast(Any, database.driver)._connector
        assert not connector._kills
        async with asyncio.timeout(60):
            while await other.fetch_val(RUNNING):
                pass


async def test_a_killed_connection_is_replaced(maria: PooledDatabase, shared_mariadb: MariaDB) -> None:
    async with maria.connection() as session:
        identifier = await session.fetch_val("SELECT CONNECTION_ID()")
    await asyncio.to_thread(shared_mariadb.sql, f"KILL {identifier}")
    assert await maria.fetch_val("SELECT 1") == 1
    async with maria.connection() as session:
        identifier = await session.fetch_val("SELECT CONNECTION_ID()")
        await asyncio.to_thread(shared_mariadb.sql, f"KILL {identifier}")
        with pytest.raises(Unavailable, match="lost; the outcome of a write in progress is unknown"):
            await put(session, "a")


async def test_a_lock_that_is_not_free_in_time_is_unavailable(maria: PooledDatabase, mariadb_url: str) -> None:
    await put(maria, "a")
    async with opened(mariadb_url) as other, other.transaction():
        await other.execute("UPDATE items SET name = 'b'")
        async with maria.connection() as session:
            await session.execute("SET innodb_lock_wait_timeout = 0")
            with pytest.raises(Unavailable, match="timed out waiting for a lock"):
                await session.execute("UPDATE items SET name = 'c'")
    assert maria.driver.write_doubt is None, "other rows can be written"


async def test_a_server_that_became_read_only_is_not_ready(maria: PooledDatabase, shared_mariadb: MariaDB) -> None:
    await check_writes(maria)
    await asyncio.to_thread(shared_mariadb.sql, "SET GLOBAL read_only = 1")
    try:
        with pytest.raises(Unavailable, match="takes no writes: the server's read_only is on"):
            await put(maria, "a")
        with pytest.raises(ConnectionError, match="read_only is on"):
            await check_writes(maria)
        assert await maria.fetch_val("SELECT count(*) FROM items") == 0
    finally:
        await asyncio.to_thread(shared_mariadb.sql, "SET GLOBAL read_only = 0")
    await check_writes(maria)
    assert maria.driver.write_doubt is None
    maria.driver.write_doubt = Failure.UNWRITABLE
    await check_writes(maria)
    assert maria.driver.write_doubt is None


async def test_a_read_only_database_refuses_writes(maria: PooledDatabase, mariadb_url: str) -> None:
    async with opened(mariadb_url, read_only=True) as replica:
        with pytest.raises(ReadOnlyError, match="may write"):
            await put(replica, "a")
        assert await replica.fetch_val("SELECT count(*) FROM items") == 0
        session = replica.detached_session(replica.driver.readers)
        async with session:
            with pytest.raises(ReadOnlyError, match="is read-only"):
                await session.command(lambda driver, raw: driver.run(raw, "INSERT INTO items (name) VALUES ('a')"))


async def test_tables_that_changed_are_read_as_they_are(maria: PooledDatabase, mariadb_url: str) -> None:
    query = "SELECT * FROM items WHERE id > :n"
    await put(maria, "1")
    row = await maria.fetch_one(query, {"n": 0})
    assert row is not None
    assert dict(row) == {"id": 1, "name": "1"}
    async with opened(mariadb_url) as other:
        await other.execute("ALTER TABLE items MODIFY name INT, ADD more DATE DEFAULT '2024-02-29' FIRST")
    row = await maria.fetch_one(query, {"n": 0})
    assert row is not None
    assert (row.id, row.name, str(row.more)) == (1, 1, "2024-02-29")


async def test_a_statement_runs_again_when_the_server_has_forgotten_it(maria: PooledDatabase) -> None:
    async with maria.connection() as session:
        assert await session.fetch_val("SELECT :n + 1", {"n": 1}) == 2
        raw = session.raw_connection
        statement = raw._statements["SELECT ? + 1"]._statement_id
        await raw._execute_command(COMMAND.COM_STMT_CLOSE, statement.to_bytes(4, "little"))
        assert await session.fetch_val("SELECT :n + 1", {"n": 1}) == 2
