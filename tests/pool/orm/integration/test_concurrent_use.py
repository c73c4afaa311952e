"""Sessions of several tasks, one session in several tasks, and sessions beside transactions of the database."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import InvalidRequestError

from scalekit_pool.database import PooledDatabase
from tests.pool.conftest import POSTGRES
from tests.pool.harness import all_released, opened, wait_until_released
from tests.pool.orm.company import Account, Manager, company

pytestmark = pytest.mark.anyio

WRITE = text("UPDATE accounts SET balance = balance + 1")
DENIED = "this task would wait for itself"


async def test_each_of_many_tasks_has_a_session_of_its_own(database: PooledDatabase) -> None:
    async def add(number: int) -> int | None:
        async with database.sessions() as session, session.begin():
            session.add(Manager(name=f"name {number}", budget=1))
            await session.flush()
            return await session.scalar(select(func.count()).select_from(Manager))

    async with company(database) as session:
        counts = await asyncio.gather(*map(add, range(20)))
        assert len(counts) == 20
        assert await session.scalar(select(func.count()).select_from(Manager)) == 21


async def test_one_session_in_two_tasks_is_refused(database: PooledDatabase) -> None:
    async with company(database) as session:
        results = await asyncio.gather(*(session.execute(WRITE) for _ in range(3)), return_exceptions=True)
        errors = [each for each in results if isinstance(each, Exception)]
        assert [type(each) for each in errors] == [InvalidRequestError] * 2
        assert "another task" in str(errors[0])
        await session.rollback()
        assert await session.scalar(select(Account.balance)) == 100


async def test_a_session_that_is_closed_while_another_task_uses_it_is_not_used_again(url: str) -> None:
    async with opened(url, max_size=1, acquire_timeout="10s") as database, company(database) as session:
        async with database.sessions() as other:
            await other.execute(WRITE)
            task = asyncio.create_task(session.execute(WRITE))
            while not database.driver.writers.waiting:
                await asyncio.sleep(0)
            session.sync_session.close()
            await other.commit()
        with pytest.raises(InvalidRequestError, match="closed by another task"):
            await task
        await wait_until_released(database)
        async with database.sessions() as third, third.begin():
            assert await third.scalar(select(Account.balance)) == 101
            await third.execute(WRITE)


@pytest.mark.parametrize("url", [POSTGRES], indirect=True)
async def test_a_session_and_a_transaction_of_the_database_are_apart(database: PooledDatabase) -> None:
    async with company(database) as session:
        async with database.transaction():
            await database.execute("UPDATE accounts SET balance = 7 WHERE id = 1")
            assert await session.scalar(select(Account.balance).where(Account.id == 1)) == 7  # its connection
            (await session.get_one(Account, 2)).balance = 8
            await session.flush()
            assert await session.scalar(select(Account.balance).where(Account.id == 1)) == 100  # the session's own
            await session.commit()
            assert await session.scalar(select(Account.balance).where(Account.id == 2)) == 8
        assert await session.scalar(select(func.sum(Account.balance))) == 15
        await session.execute(WRITE)
        async with database.transaction():
            assert await database.fetch_val("SELECT sum(balance) FROM accounts") == 15
        await session.rollback()


async def test_a_task_that_would_wait_for_itself_gets_an_error_at_once(url: str) -> None:
    async with opened(url, max_size=1, acquire_timeout="1h") as database, company(database) as session:
        async with database.transaction():
            await database.execute("UPDATE accounts SET balance = 1")
            with pytest.raises(RuntimeError, match=DENIED):
                await session.execute(WRITE)
        await session.rollback()
        await session.execute(WRITE)
        with pytest.raises(RuntimeError, match=DENIED):
            await database.execute("UPDATE accounts SET balance = 1")
        with pytest.raises(RuntimeError, match=DENIED):
            async with database.transaction():
                pass
        await session.commit()
        assert all_released(database)
        assert await session.scalar(select(Account.balance)) == 2
