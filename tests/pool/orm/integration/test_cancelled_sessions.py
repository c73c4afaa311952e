"""Tasks that are cancelled in each state of a session leave no connection behind."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import SAWarning
from sqlalchemy.ext.asyncio import AsyncSession

from scalekit_pool.database import PooledDatabase
from tests.pool.harness import all_released, wait_until_released
from tests.pool.orm.company import Account, Manager, company

pytestmark = pytest.mark.anyio


async def read(session: AsyncSession) -> None:
    await session.scalars(select(Account))


async def stream(session: AsyncSession) -> None:
    rows = await session.stream_scalars(select(Account))
    async for _ in rows:
        await asyncio.sleep(0)


async def commit(session: AsyncSession) -> None:
    session.add(Manager(name="carl", budget=1))
    await session.commit()


async def roll_back(session: AsyncSession) -> None:
    session.add(Manager(name="carl", budget=1))
    await session.flush()
    await session.rollback()


async def nest(session: AsyncSession) -> None:
    async with session.begin(), session.begin_nested():
        session.add(Manager(name="carl", budget=1))


async def test_a_session_that_is_never_closed_is_released_from_any_thread(database: PooledDatabase) -> None:
    async with company(database):
        session = database.sessions()
        await session.execute(text("UPDATE accounts SET balance = 1"))
        assert not all_released(database)
        del session
        with pytest.warns(SAWarning, match="garbage collector"):
            await asyncio.to_thread(gc.collect)
        await wait_until_released(database)
        async with database.sessions() as other:
            assert await other.scalar(select(Account.balance)) == 100


@pytest.mark.parametrize("work", [read, stream, commit, roll_back, nest])
async def test_a_cancellation_at_any_step_releases_the_connection(
    database: PooledDatabase, work: Callable[[AsyncSession], Awaitable[None]]
) -> None:
    async def use() -> None:
        async with database.sessions() as session:
            await work(session)

    async with company(database):
        for steps in range(60):
            task = asyncio.create_task(use())
            for _ in range(steps):
                await asyncio.sleep(0)
            done = task.done()
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled() is not done
            await wait_until_released(database)
        async with database.sessions() as session, session.begin():
            await session.execute(text("UPDATE accounts SET balance = 1"))
        assert all_released(database)
