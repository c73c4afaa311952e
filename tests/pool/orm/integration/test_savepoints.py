"""Savepoints, locks and isolation levels of sessions."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from scalekit_pool.database import PooledDatabase
from tests.pool.conftest import POSTGRES
from tests.pool.harness import all_released
from tests.pool.orm.company import Account, Task, company

pytestmark = pytest.mark.anyio


async def texts(session: AsyncSession) -> list[str]:
    return [*(await session.scalars(select(Task.text).order_by(Task.number)))]


async def test_nested_savepoints_are_rolled_back_and_released_each(database: PooledDatabase) -> None:
    async with company(database) as session:
        async with session.begin():
            session.add(Task(person_id=1, number=3, text="outer"))
            outer = await session.begin_nested()
            session.add(Task(person_id=1, number=4, text="lost"))
            async with session.begin_nested():
                session.add(Task(person_id=1, number=5, text="lost too"))
            await outer.rollback()
            async with session.begin_nested():
                session.add(Task(person_id=1, number=4, text="kept"))
            assert await texts(session) == ["plan", "build", "outer", "kept"]
        assert all_released(database)
        assert await texts(session) == ["plan", "build", "outer", "kept"]


async def test_a_transaction_goes_on_after_an_error_in_a_savepoint(database: PooledDatabase) -> None:
    async with company(database) as session:
        for number in (1, 3, 2, 4):
            try:
                async with session.begin_nested():
                    session.add(Task(person_id=1, number=number, text=f"task {number}"))
            except IntegrityError:
                pass
        await session.commit()
        assert await texts(session) == ["plan", "build", "task 3", "task 4"]


@pytest.mark.parametrize("url", [POSTGRES], indirect=True)
async def test_an_error_of_a_savepoint_is_one_of_sqlalchemy(database: PooledDatabase) -> None:
    async with company(database) as session:
        with pytest.raises(DBAPIError):
            await session.execute(text("UPDATE accounts SET balance = -1"))
        with pytest.raises(DBAPIError, match="transaction is aborted"):
            async with session.begin_nested():
                await texts(session)
        await session.rollback()
        assert await texts(session) == ["plan", "build"]


@pytest.mark.parametrize("url", [POSTGRES], indirect=True)
async def test_locked_rows_are_skipped_or_refused(database: PooledDatabase) -> None:
    async with company(database) as session, database.sessions() as other:
        await session.get_one(Account, 1, with_for_update=True)
        assert not all_released(database)
        statement = select(Account.id).order_by(Account.id)
        assert [*(await other.scalars(statement.with_for_update(skip_locked=True)))] == [2]
        with pytest.raises(DBAPIError, match="could not obtain lock"):
            await other.scalars(statement.with_for_update(nowait=True))
        await other.rollback()
        waiting = asyncio.create_task(other.get_one(Account, 1, with_for_update={"key_share": True}))
        await session.execute(update(Account).where(Account.id == 1).values(balance=1))
        await session.commit()
        assert (await waiting).balance == 1
        await other.rollback()


async def test_for_update_is_left_out_on_sqlite(database: PooledDatabase) -> None:
    async with company(database) as session:
        account = await session.get_one(Account, 1, with_for_update=True)
        await session.refresh(account, with_for_update=True)
        account.balance += 1
        await session.commit()
        assert await session.scalar(select(Account.balance).where(Account.id == 1)) == 101


@pytest.mark.parametrize("url", [POSTGRES], indirect=True)
async def test_a_serializable_conflict_is_an_error_and_the_transaction_can_run_again(database: PooledDatabase) -> None:
    options: dict[str, Any] = {"isolation_level": "SERIALIZABLE"}

    async def withdraw(session: AsyncSession, number: int) -> None:
        await session.connection(execution_options=options)
        total = sum(await session.scalars(select(Account.balance)))
        (await session.get_one(Account, number)).balance -= 100 if total >= 150 else 0
        await session.flush()

    async with company(database) as session, database.sessions() as other:
        await withdraw(session, 1)
        await withdraw(other, 2)
        await session.commit()
        with pytest.raises(DBAPIError, match="could not serialize access"):
            await other.commit()
        await other.rollback()
        await withdraw(other, 2)
        await other.commit()
        assert sum(await session.scalars(select(Account.balance))) == 100
