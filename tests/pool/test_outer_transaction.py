from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from sqlalchemy import insert, text

from scalekit_pool.database import PooledDatabase
from scalekit_pool.outer_transaction import ENDED_WITH_OUTER
from tests.pool.conftest import ORM
from tests.pool.harness import opened, wait_until_released
from tests.pool.schema import DUPLICATE, INSERT, ITEMS, create, names, numbered, put

# ruff: noqa: PT012 -- what is inside is one transaction

pytestmark = pytest.mark.anyio


@pytest.fixture
async def items(database: PooledDatabase) -> AsyncGenerator[PooledDatabase, None]:
    await create(database, ITEMS)
    yield database
    await wait_until_released(database)


@pytest.fixture
async def postgres(postgres_url: str) -> AsyncGenerator[PooledDatabase, None]:
    async with opened(postgres_url, max_size=4) as database:
        await create(database, ITEMS)
        yield database
        await wait_until_released(database)


async def use_everything(items: PooledDatabase) -> None:
    """Write by every interface of *items*."""
    await put(items, "a")
    async with items.transaction():
        await put(items, "b")
    async with items.sessions() as session:
        await session.execute(insert(ITEMS).values(id=3, name="c"))
        await session.commit()
    await items.insert_many("items", numbered(4))
    await items.insert_soon("items", {"id": 5, "name": "n5"})
    async with items.connection() as connection:
        await put(connection, "d")
    await asyncio.create_task(put(items, "e"))


ALL = ["a", "b", "c", "d", "e", "n4", "n5"]


@pytest.mark.parametrize("url", ORM, indirect=True)
async def test_everything_in_it_is_committed_together(items: PooledDatabase) -> None:
    async with items.outer_transaction() as outer:
        await use_everything(items)
        assert await names(items) == ALL
        assert not outer.has_open_work
        await outer.commit()
    assert await names(items) == ALL


@pytest.mark.parametrize("url", ORM, indirect=True)
async def test_everything_in_it_is_rolled_back_together(items: PooledDatabase) -> None:
    async with items.outer_transaction():
        await use_everything(items)
    assert await names(items) == []
    with pytest.raises(KeyError):
        async with items.outer_transaction():
            await put(items, "a")
            raise KeyError
    assert await names(items) == []


@pytest.mark.parametrize("url", ORM, indirect=True)
async def test_sessions_in_it_see_what_it_has_written(items: PooledDatabase) -> None:
    async with items.outer_transaction():
        await put(items, "a")
        async with items.sessions() as session:
            assert (await session.scalars(text("SELECT name FROM items"))).all() == ["a"]
            rows = await session.stream_scalars(text("SELECT name FROM items"))
            assert [row async for row in rows] == ["a"]


async def test_a_failed_write_outside_of_a_transaction_fails_alone(items: PooledDatabase) -> None:
    async with items.outer_transaction() as outer:
        await put(items, "a")
        with pytest.raises(Exception, match=DUPLICATE):
            await put(items, "a")
        await put(items, "b")
        await outer.commit()
    assert await names(items) == ["a", "b"]


async def test_writes_of_concurrent_tasks_do_not_disturb_each_other(items: PooledDatabase) -> None:
    async with items.outer_transaction() as outer:
        results = await asyncio.gather(*(put(items, name) for name in "abacad"), return_exceptions=True)
        assert [isinstance(result, Exception) for result in results] == [False, False, True, False, True, False]
        await outer.commit()
    assert await names(items) == ["a", "b", "c", "d"]


@pytest.mark.parametrize("url", ORM, indirect=True)
async def test_the_commit_rolls_back_what_is_still_open_in_it(items: PooledDatabase) -> None:
    async with items.outer_transaction() as outer:
        await put(items, "a")
        session = items.sessions()
        await session.execute(insert(ITEMS).values(id=1, name="b"))
        assert outer.has_open_work
        await items.transaction()
        await put(items, "c")
        await outer.commit()
    assert await names(items) == ["a"]
    with pytest.raises(RuntimeError, match="this transaction has ended"):
        await session.commit()
    await session.close()


@pytest.mark.parametrize("url", ORM, indirect=True)
async def test_a_session_that_has_begun_is_open_work_until_it_commits(items: PooledDatabase) -> None:
    async with items.outer_transaction() as outer, items.sessions() as session:
        await session.execute(text("SELECT 1"))
        assert outer.has_open_work
        await session.commit()
        assert not outer.has_open_work


@pytest.mark.parametrize("url", ORM, indirect=True)
async def test_it_fails_when_a_part_of_it_was_abandoned(items: PooledDatabase) -> None:
    async with items.outer_transaction() as outer:
        session = items.sessions()
        await session.execute(insert(ITEMS).values(id=1, name="b"))
        session.sync_session.close()  # outside of a greenlet
        with pytest.raises(RuntimeError, match="was rolled back: a session in it was closed"):
            await outer.commit()
    assert await names(items) == []


async def test_after_it_its_context_uses_the_database_as_ever(items: PooledDatabase) -> None:
    ended = asyncio.Event()

    async def write_later() -> None:
        await ended.wait()
        await put(items, "b")

    async with items.outer_transaction() as outer:
        task = asyncio.create_task(write_later())
        await put(items, "a")
        await outer.commit()
        await put(items, "c")
        ended.set()
        await task
    assert await names(items) == ["a", "b", "c"]


@pytest.mark.parametrize("statements", [1, 2, 3])
async def test_a_transaction_that_a_task_begins_during_the_commit_keeps_its_statements_together(
    items: PooledDatabase, statements: int
) -> None:
    """It begins while the outer one is open, waits for its connection, and continues when that one has ended."""

    async def fail_later() -> None:
        async with items.transaction():
            await put(items, "b")
            raise KeyError

    async with items.outer_transaction() as outer:
        await put(items, "a")
        task = asyncio.create_task(fail_later())
        for _ in range(statements):
            await outer.fetch_one("SELECT 1")
        await outer.commit()
        with pytest.raises((KeyError, RuntimeError)):
            await task
    assert await names(items) == ["a"]


@pytest.mark.parametrize("commits", [False, True])
async def test_a_task_whose_transaction_ended_with_the_outer_one_writes_nothing_more_in_it(
    items: PooledDatabase, commits: bool
) -> None:
    began, ended = asyncio.Event(), asyncio.Event()
    refusals: list[str] = []

    async def write_twice() -> None:
        async with items.transaction():
            await put(items, "b")
            began.set()
            await ended.wait()
            try:
                await put(items, "c")
            except RuntimeError as error:
                refusals.append(str(error))

    async def write_again() -> None:
        with pytest.raises(RuntimeError, match="this transaction has ended"):
            await write_twice()
        await put(items, "d")

    async with items.outer_transaction() as outer:
        task = asyncio.create_task(write_again())
        await began.wait()
        await (outer.commit() if commits else outer.rollback())
        ended.set()
        await task
    assert [refusal.split(":")[0] for refusal in refusals] == [ENDED_WITH_OUTER.split(":")[0]]
    assert await names(items) == ["d"]


async def test_a_connection_that_a_task_holds_beyond_the_end_is_an_ordinary_one(items: PooledDatabase) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def write_later() -> None:
        async with items.connection() as connection:
            began.set()
            await ended.wait()
            await put(connection, "b")

    async with items.outer_transaction() as outer:
        task = asyncio.create_task(write_later())
        await began.wait()
        await put(items, "a")
        await outer.commit()
        ended.set()
        await task
    assert await names(items) == ["a", "b"]


async def test_other_contexts_do_not_take_part(postgres: PooledDatabase) -> None:
    began, written = asyncio.Event(), asyncio.Event()

    async def write() -> None:
        await began.wait()
        await put(postgres, "b")
        written.set()

    task = asyncio.create_task(write())
    async with postgres.outer_transaction():
        await put(postgres, "a")
        began.set()
        await written.wait()
    await task
    assert await names(postgres) == ["b"]


@pytest.mark.needs("postgres")
async def test_a_transaction_in_it_may_not_ask_for_a_stronger_isolation(postgres: PooledDatabase) -> None:
    async with postgres.outer_transaction():
        async with postgres.transaction(isolation="read_committed"):
            pass
        with pytest.raises(RuntimeError, match="isolation 'serializable' inside of one with 'read_committed'"):
            await postgres.transaction(isolation="serializable")
    async with postgres.outer_transaction(isolation="serializable"):
        assert await postgres.fetch_val("SHOW transaction_isolation") == "serializable"
        await postgres.transaction(isolation="repeatable_read")


async def test_two_phase_commit_is_refused_in_it(postgres: PooledDatabase) -> None:
    async with postgres.outer_transaction() as outer, postgres.sessions(twophase=True) as session:
        await session.execute(text(INSERT), {"id": 1, "name": "a"})
        with pytest.raises(RuntimeError, match="no two-phase commit inside"):
            await session.commit()
        await session.rollback()
        await put(postgres, "b")
        await outer.commit()
    assert await names(postgres) == ["b"]


async def test_callbacks_run_after_the_outer_commit(items: PooledDatabase) -> None:
    committed: list[list[str]] = []

    async def look() -> None:
        assert items.current_outer_transaction() is None
        committed.append(await names(items))

    for commits in (False, True):
        async with items.outer_transaction() as outer:
            async with items.transaction():
                await put(items, "a")
                await items.on_commit(look)
            await items.on_commit(look)
            if commits:
                assert committed == []
                await outer.commit()
    assert committed == [["a"], ["a"]]


async def test_a_task_knows_whether_it_is_in_a_transaction(items: PooledDatabase) -> None:
    async def in_transaction() -> bool:
        return items.in_transaction

    assert not items.in_transaction
    async with items.connection():
        assert not items.in_transaction
    async with items.transaction():
        assert [items.in_transaction, await asyncio.create_task(in_transaction())] == [True, False]
    async with items.outer_transaction() as outer:
        assert [items.in_transaction, await asyncio.create_task(in_transaction())] == [True, True]
        await outer.commit()
        assert not items.in_transaction
    assert not items.in_transaction
