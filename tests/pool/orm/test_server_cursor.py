"""Streams fetch rows in chunks, and release their connection when they end early."""

from __future__ import annotations

import tracemalloc

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from scalekit_pool.database import PooledDatabase
from tests.pool.harness import all_released, opened, wait_until_released
from tests.pool.orm.company import Account, company

pytestmark = pytest.mark.anyio

ROWS = 100_000
ALL = select(Account.id, Account.balance).order_by(Account.id)


async def fill(session: AsyncSession, rows: int) -> None:
    await session.execute(
        insert(Account), [{"id": number, "balance": 1, "version": 1} for number in range(3, rows + 1)]
    )
    await session.commit()


async def test_many_rows_are_read_in_bounded_memory(database: PooledDatabase, url: str) -> None:
    async with company(database) as session:
        await fill(session, ROWS)
        tracemalloc.start()
        try:
            total = 0
            rows = await session.stream(ALL.execution_options(yield_per=500))
            async for row in rows:
                total += row.balance
            assert total == ROWS + 198
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        if "memory" not in url:  # where the rows of the only connection are fetched at once
            assert peak < 1_000_000


@pytest.mark.parametrize("end", ["close", "break", "commit", "rollback", "session"])
async def test_a_stream_that_ends_early_releases_its_connection(database: PooledDatabase, end: str) -> None:
    async with company(database) as session:
        await fill(session, 1000)
        rows = await session.stream_scalars(select(Account))
        assert (await rows.fetchmany(3))[2].id == 3
        if end == "close":
            await rows.close()
        elif end == "break":
            async for _ in rows:
                break
            del rows
        elif end != "session":
            await getattr(session, end)()
        if end in ("commit", "rollback"):
            await wait_until_released(database)
        await session.close()
        await wait_until_released(database)


async def test_partitions_and_rows_of_a_session_that_has_written(database: PooledDatabase) -> None:
    async with company(database) as session:
        await fill(session, 1000)
        await session.execute(text("UPDATE accounts SET balance = 2"))
        sizes = []
        async for part in (await session.stream_scalars(select(Account).execution_options(yield_per=300))).partitions():
            assert {account.balance for account in part} == {2}
            sizes.append(len(part))
        assert sizes == [300, 300, 300, 100]
        rows = await session.stream(text("DELETE FROM accounts WHERE id < 250 RETURNING id"))
        assert len(await rows.all()) == 249
        await session.rollback()


async def test_a_session_writes_while_it_streams(url: str) -> None:
    async with opened(url, max_size=2) as database, company(database) as session:
        await fill(session, 1000)
        async for account in await session.stream_scalars(select(Account).order_by(Account.id)):
            if account.id % 250 == 0:
                account.balance = 9
                await session.flush()
        await session.commit()
        assert [*(await session.scalars(select(Account.id).where(Account.balance == 9)))] == [250, 500, 750, 1000]
        assert all_released(database)


async def test_an_error_releases_the_connection_of_a_stream(database: PooledDatabase) -> None:
    async with company(database) as session:
        with pytest.raises(DBAPIError):
            await session.stream(text("SELECT missing FROM accounts"))
        await session.rollback()
        await wait_until_released(database)
