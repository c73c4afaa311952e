"""Connections that the application still uses when the database closes leave no lock and no statement behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from scalekit import Unavailable
from scalekit_pool.connections import lifecycle
from scalekit_pool.database import PooledDatabase
from tests.pool.conftest import POSTGRES
from tests.pool.harness import opened, wait_until
from tests.pool.schema import INSERT, ITEMS, create, names, numbered

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("url", ["file", POSTGRES], indirect=True)]

SLOW = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
    "postgresql": "SELECT pg_sleep(600)",
}
ADD = ITEMS.insert().values(id=1, name="lost")


@pytest.fixture(autouse=True)
def release_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "RELEASE_TIMEOUT", 0.05)


async def lose_transaction(database: PooledDatabase) -> Any:
    transaction = await database.transaction()
    await database.execute(INSERT, {"id": 1, "name": "lost"})
    return transaction


async def lose_connection(database: PooledDatabase) -> Any:
    session = database.connection()
    await session.__aenter__()
    await session.execute("BEGIN")
    await session.execute(INSERT, {"id": 1, "name": "lost"})
    return session


async def lose_session(database: PooledDatabase) -> Any:
    session = database.sessions()
    await session.execute(ADD)
    return session


LOSSES = [lose_transaction, lose_connection, lose_session]


@pytest.mark.parametrize("lose", LOSSES)
async def test_what_the_application_does_not_end_is_rolled_back_at_the_stop(
    url: str, lose: Callable[[PooledDatabase], Awaitable[Any]], caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(url) as database:
        await create(database, ITEMS)
        lost = await lose(database)
    assert f"in {lose.__name__}" in caplog.messages[-1]
    assert "which rolls back" in caplog.messages[-1]
    async with opened(url, acquire_timeout="5s") as other:
        await other.insert_many(ITEMS, numbered(1))  # waits for no lock
        assert await names(other) == ["n1"]
    if lose is lose_session:
        await lost.close()
    elif lose is lose_transaction:
        await lost.rollback()
    else:
        with pytest.raises(Unavailable):
            await lost.fetch_all("SELECT 1")
        await lost.__aexit__(None, None, None)


async def test_a_statement_that_runs_at_the_stop_is_interrupted(url: str) -> None:
    async with opened(url) as database:
        running = asyncio.create_task(database.fetch_all(SLOW[database.dialect]))
        pool = database.driver.readers
        await wait_until(lambda: pool.supplier.size > 0 and not pool.idle)
    with pytest.raises((Unavailable, TimeoutError)):
        await running
    assert pool.supplier.size == 0
