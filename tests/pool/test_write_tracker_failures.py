"""The table observer receives writes whose outcome is unknown as possibly written."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from scalekit_pool.database import PooledDatabase
from tests.pool.conftest import POSTGRES
from tests.pool.harness import all_released, wait_until, wait_until_released
from tests.pool.schema import DUPLICATE, INSERT
from tests.pool.table_recorder import ITEMS_ONLY, ONE, Recorder

pytestmark = pytest.mark.anyio


async def test_a_raw_connection_that_its_task_did_not_release_is_reported(
    observed: PooledDatabase, recorder: Recorder
) -> None:
    async def forget_it() -> None:
        session = observed.connection()
        await session.enter()
        _ = session.raw_connection

    await asyncio.create_task(forget_it())
    await wait_until(lambda: recorder.possibly_written == [None])


async def test_a_failed_statement_is_reported_if_it_may_have_written(
    observed: PooledDatabase, recorder: Recorder
) -> None:
    await observed.execute(INSERT, ONE)
    recorder.forget()
    with pytest.raises(Exception, match=DUPLICATE):
        await observed.execute(INSERT, ONE)
    async with observed.connection() as session:
        with pytest.raises(Exception, match=DUPLICATE):
            await session.execute(INSERT, ONE)
    assert recorder.written == [ITEMS_ONLY] * 2
    assert recorder.possibly_written == []


async def test_an_interrupted_write_is_reported_as_possibly_written(
    url: str, recorder: Recorder, observed: PooledDatabase
) -> None:
    slow = "INSERT INTO items (id, name) WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 100000000) SELECT i, i FROM n"  # noqa: E501
    if observed.dialect == "postgresql":
        slow = "INSERT INTO items (id, name) SELECT 1, pg_sleep(100)::text"
    if observed.dialect == "mysql":
        numbers = "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 1000)"
        slow = f"INSERT INTO items (id, name) {numbers} SELECT count(*), 'a' FROM n AS a, n AS b, n AS c, n AS d"

    async def in_session() -> None:
        async with observed.connection() as session:
            await session.execute(slow)

    for method in (lambda: observed.execute(slow), in_session):
        await wait_until_released(observed)
        recorder.forget()
        task = asyncio.ensure_future(method())
        await wait_until(lambda: not all_released(observed))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (recorder.written, recorder.possibly_written) == ([], [ITEMS_ONLY])
        await wait_until_released(observed)


@pytest.mark.parametrize("url", ["file", "memory", POSTGRES], indirect=True)  # MySQL checks at once
async def test_a_failed_commit_is_reported_as_possibly_written(observed: PooledDatabase, recorder: Recorder) -> None:
    with pytest.raises(Exception, match=r"(?i)foreign key"):
        async with observed.transaction():
            await observed.execute("INSERT INTO children (id, parent) VALUES (1, 2)")
    assert (recorder.written, recorder.possibly_written) == ([], [frozenset({"children"})])


async def test_a_cancelled_commit_is_reported_as_possibly_written(
    observed: PooledDatabase, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, committed = observed.driver.commit, asyncio.Event()

    async def slow_commit(connection: Any) -> None:
        await commit(connection)
        committed.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(observed.driver, "commit", slow_commit)
    task = asyncio.ensure_future(observed.execute_many(INSERT, [ONE]))
    await committed.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (recorder.written, recorder.possibly_written) == ([], [ITEMS_ONLY])


async def test_an_iteration_left_early_is_reported(observed: PooledDatabase, recorder: Recorder) -> None:
    rows = "INSERT INTO items (id, name) VALUES (1, 'a'), (2, 'b') RETURNING id"
    if observed.dialect == "postgresql":  # PostgreSQL opens no cursor for a write
        return
    async with observed.connection() as session, observed.transaction():
        iterating = session.iterate(rows)
        await anext(iterating)
    assert recorder.written == [ITEMS_ONLY]
    await iterating.aclose()
