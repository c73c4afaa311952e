"""Sessions on MariaDB: transactions, isolation levels, locks, and what a statement has changed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import func, insert, select, text, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from scalekit import Unavailable
from scalekit_pool.connections.driver import RolledBack
from scalekit_pool.database import PooledDatabase
from tests.pool.conftest import MARIADB
from tests.pool.harness import all_released, opened
from tests.pool.orm.company import Account, company

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("url", [MARIADB], indirect=True)]

OPEN = text("SELECT @@in_transaction")


async def balances(session: AsyncSession) -> list[int]:
    return [*(await session.scalars(select(Account.balance).order_by(Account.id)))]


async def test_a_transaction_begins_with_the_first_write(database: PooledDatabase) -> None:
    async with company(database) as session:
        assert await session.scalar(OPEN) == 0
        assert all_released(database)
        await session.execute(update(Account).values(balance=1))
        assert await session.scalar(OPEN) == 1
        await session.commit()
        assert await session.scalar(OPEN) == 0
        await session.scalars(select(Account).with_for_update(read=True))
        assert not all_released(database)
        await session.rollback()


@pytest.mark.parametrize(("level", "seen"), [("READ COMMITTED", 1), ("REPEATABLE READ", 100)])
async def test_an_isolation_level_is_of_one_transaction(database: PooledDatabase, level: str, seen: int) -> None:
    options: dict[str, Any] = {"isolation_level": level}
    async with company(database) as session:
        connection = await session.connection(execution_options=options)
        assert await connection.get_isolation_level() == level
        assert await balances(session) == [100, 100]
        assert not all_released(database)
        await database.execute("UPDATE accounts SET balance = 1")
        assert await balances(session) == [seen, seen]
        await session.rollback()
        assert await (await session.connection()).get_isolation_level() == "REPEATABLE READ"
        assert await balances(session) == [1, 1]
        assert all_released(database)


async def test_locked_rows_are_skipped_or_refused(database: PooledDatabase) -> None:
    async with company(database) as session, database.sessions() as other:
        await session.get_one(Account, 1, with_for_update=True)
        statement = select(Account.id).order_by(Account.id)
        assert [*(await other.scalars(statement.with_for_update(skip_locked=True)))] == [2]
        with pytest.raises(Unavailable, match="timed out waiting for a lock"):
            await other.scalars(statement.with_for_update(nowait=True))
        await other.rollback()


async def test_a_row_that_is_updated_to_its_own_values_is_found(database: PooledDatabase) -> None:
    async with company(database) as session:
        result: Any = await session.execute(update(Account).values(balance=100))
        assert result.rowcount == 2
        await session.rollback()


async def test_a_deadlock_ends_the_transaction(database: PooledDatabase) -> None:
    async def change(session: AsyncSession, number: int, meanwhile: asyncio.Barrier) -> None:
        await session.execute(update(Account).where(Account.id == number).values(balance=number))
        await meanwhile.wait()
        await session.execute(update(Account).where(Account.id == 3 - number).values(balance=number))
        await session.commit()

    async with company(database) as session, database.sessions() as other:
        barrier = asyncio.Barrier(2)
        changes = (change(session, 1, barrier), change(other, 2, barrier))
        results = await asyncio.gather(*changes, return_exceptions=True)
        (error,) = [result for result in results if result is not None]
        assert isinstance(error, OperationalError)
        failed, number = (session, 2) if results[0] is error else (other, 1)
        with pytest.raises(RolledBack):
            await failed.commit()
        await failed.rollback()
        assert await balances(failed) == [number, number]


async def test_rows_of_one_statement_are_inserted_by_one(url: str) -> None:
    async with opened(url, max_size=2) as database, company(database) as session:
        await session.commit()
        count = text("SELECT variable_value FROM information_schema.session_status WHERE variable_name = 'com_insert'")
        await session.execute(update(Account).values(version=2))  # holds the connection
        before = int(await session.scalar(count) or 0)
        rows = [{"id": number, "balance": 1, "version": 1} for number in range(3, 1003)]
        await session.execute(insert(Account), rows)
        assert int(await session.scalar(count) or 0) == before + 1
        assert await session.scalar(select(func.count()).select_from(Account)) == 1002
        await session.rollback()
