"""Two-phase commit: prepared, committed, rolled back, and recovered."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from typing import cast

import pytest
from sqlalchemy import Connection, select, text
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from scalekit_pool.connections.driver import RolledBack
from scalekit_pool.database import PooledDatabase
from tests.pool.conftest import EMPTY, POSTGRES
from tests.pool.harness import opened, wait_until_released
from tests.pool.orm.company import Account, company, fill
from tests.pool.table_recorder import Recorder
from tests.servers import Postgres

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with Postgres("max_prepared_transactions=5") as server:
        yield server


@pytest.fixture
async def prepared(server: Postgres) -> AsyncGenerator[tuple[PooledDatabase, Recorder], None]:
    server.sql(EMPTY)
    recorder = Recorder(server.url)
    async with opened(server.url, observer=recorder, max_size=4) as database:
        await fill(database)
        recorder.forget()
        yield database, recorder
        await wait_until_released(database)


async def balance(session: AsyncSession) -> int | None:
    return await session.scalar(select(Account.balance).where(Account.id == 1))


@pytest.mark.needs("postgres")
async def test_a_session_commits_in_two_phases(prepared: tuple[PooledDatabase, Recorder]) -> None:
    database, recorder = prepared
    async with database.sessions(twophase=True) as session, database.sessions() as other:
        (await session.get_one(Account, 1)).balance = 5
        await session.run_sync(lambda sync: sync.prepare())
        assert await balance(other) == 100
        assert await other.scalar(text("SELECT count(*) FROM pg_prepared_xacts")) == 1
        assert recorder.written == []
        await session.commit()
        assert recorder.written == [frozenset({"accounts"})]
        assert await balance(other) == 5
        recorder.forget()
        (await session.get_one(Account, 2)).balance = 5
        await session.run_sync(lambda sync: sync.prepare())
        await session.rollback()
        assert await other.scalar(text("SELECT count(*) FROM pg_prepared_xacts")) == 0
        assert recorder.written == []
        await session.commit()


@pytest.mark.needs("postgres")
async def test_a_prepared_transaction_is_recovered(prepared: tuple[PooledDatabase, Recorder]) -> None:
    database, recorder = prepared
    engine = cast(AsyncEngine, database.sessions().bind)

    def prepare(connection: Connection) -> None:
        transaction = connection.begin_twophase("it's")
        connection.execute(text("UPDATE accounts SET balance = balance + 1"))
        transaction.prepare()
        connection.invalidate()

    def recover(connection: Connection, commits: bool) -> None:
        assert connection.recover_twophase() == ["it's"]
        (connection.commit_prepared if commits else connection.rollback_prepared)("it's", recover=True)

    for commits in (True, False):
        async with engine.connect() as connection:
            await connection.run_sync(prepare)
        recorder.forget()
        async with engine.connect() as connection:
            await connection.run_sync(recover, commits)
        assert recorder.written == [None]
        async with database.sessions() as session:
            assert await balance(session) == 101


@pytest.mark.needs("postgres")
async def test_a_failed_transaction_cannot_be_prepared(prepared: tuple[PooledDatabase, Recorder]) -> None:
    database, _ = prepared
    async with database.sessions(twophase=True) as session:
        await session.execute(text("UPDATE accounts SET balance = 3"))
        with pytest.raises(DBAPIError):
            await session.execute(text("UPDATE accounts SET balance = -1"))
        with pytest.raises(RolledBack):
            await session.commit()
        await session.rollback()
        assert await balance(session) == 100


async def test_a_database_without_it_says_so(database: PooledDatabase) -> None:
    def change(session: Session) -> None:
        session.execute(text("UPDATE accounts SET balance = 3"))
        session.commit()

    async with company(database, twophase=True) as session:
        kind = DBAPIError if database.dialect == "postgresql" else InvalidRequestError
        with pytest.raises(kind, match=r"two-phase commit|prepared transactions are disabled"):
            await session.run_sync(change)
        await session.rollback()
    async with database.sessions() as session:
        assert await balance(session) == 100


@pytest.mark.parametrize("url", [POSTGRES], indirect=True)
async def test_the_commit_of_a_failed_transaction_is_an_error(database: PooledDatabase) -> None:
    async with company(database) as session:
        await session.execute(text("UPDATE accounts SET balance = 3"))
        with pytest.raises(DBAPIError):
            await session.execute(text("UPDATE accounts SET balance = -1"))
        with pytest.raises(RolledBack, match="a statement in it failed"):
            await session.commit()
        await session.rollback()
        assert await balance(session) == 100
