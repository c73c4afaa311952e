"""Cancel a caller at its first wait, then at its second, and so on: no connection leaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import pytest
import sqlalchemy as sa

from scalekit_pool.database import PooledDatabase
from tests.pool.harness import all_released, wait_until_released
from tests.pool.schema import ITEMS, create, names

pytestmark = pytest.mark.anyio

Work = Callable[[PooledDatabase, int], Awaitable[None]]

INSERT = "INSERT INTO items (id, name) VALUES (:id, :name)"
MOST_WAITS = 200


@pytest.fixture
async def items(open_database: Any) -> AsyncGenerator[PooledDatabase, None]:
    async with open_database(max_size=2, min_size=1) as database:
        await create(database, ITEMS)
        yield database


class CancelledAtWait:
    """Runs *work* in the current task, and cancels the task at wait number *turn*."""

    def __init__(self, work: Awaitable[None], turn: int) -> None:
        self.work = work.__await__()
        self.turn = turn
        self.waits = 0

    def __await__(self) -> Any:
        task = asyncio.current_task()
        assert task is not None
        result, error = None, None
        while True:
            try:
                waited = self.work.throw(error) if error else self.work.send(result)
            except StopIteration:
                return
            if self.waits == self.turn:
                task.cancel()
            self.waits += 1
            try:
                result, error = (yield waited), None
            except BaseException as thrown:
                error = thrown


async def cancelled_at_wait(work: Awaitable[None], turn: int) -> bool:
    """Return whether *work* was cancelled at wait number *turn*; False when it ended before."""

    async def run() -> None:
        await CancelledAtWait(work, turn)

    task = asyncio.create_task(run())
    await asyncio.wait([task])
    return task.cancelled()


async def check_connections(database: PooledDatabase) -> None:
    """Check that each connection responds and is outside a transaction."""
    await wait_until_released(database)
    sessions = [database.connection() for _ in range(database.driver.writers.limits.max_size)]

    async def check(session: Any, number: int) -> None:
        async with session:
            assert await session.fetch_val("SELECT :n + 0", {"n": number}) == number
            raw = session.raw_connection
            assert not (raw.is_in_transaction() if database.dialect == "postgresql" else raw.in_transaction)

    await asyncio.gather(*(check(session, number) for number, session in enumerate(sessions)))
    assert database._sessions == {}
    await wait_until_released(database)


async def fetch(database: PooledDatabase, turn: int) -> None:
    assert len(await database.fetch_all("SELECT id FROM items")) >= 0


async def execute(database: PooledDatabase, turn: int) -> None:
    await database.execute(INSERT, {"id": turn, "name": f"n{turn}"})


async def set_something(database: PooledDatabase, turn: int) -> None:
    await database.execute("SET work_mem = '1MB'" if database.dialect == "postgresql" else "PRAGMA cache_size = 10")


async def transaction(database: PooledDatabase, turn: int) -> None:
    async with database.transaction():
        await database.execute(INSERT, {"id": 2 * turn, "name": f"a{turn}"})
        await database.execute(INSERT, {"id": 2 * turn + 1, "name": f"b{turn}"})


async def nested(database: PooledDatabase, turn: int) -> None:
    async with database.transaction():
        await database.execute(INSERT, {"id": 2 * turn, "name": f"a{turn}"})
        async with database.transaction():
            await database.execute(INSERT, {"id": 2 * turn + 1, "name": f"b{turn}"})


async def failing(database: PooledDatabase, turn: int) -> None:
    try:
        async with database.transaction():
            await database.execute(INSERT, {"id": turn, "name": f"a{turn}"})
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass


async def iterate(database: PooledDatabase, turn: int) -> None:
    numbers = "SELECT * FROM generate_series(1, 250)"
    if database.dialect == "sqlite":
        numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 250) SELECT i FROM n"
    assert len([row async for row in database.iterate(numbers)]) == 250


async def insert_many(database: PooledDatabase, turn: int) -> None:
    rows = [{"id": 20 * turn + number, "name": f"n{turn}.{number}"} for number in range(20)]
    await database.insert_many(ITEMS, rows)


async def insert_returning(database: PooledDatabase, turn: int) -> None:
    rows = [{"id": 2 * turn + number, "name": f"n{turn}.{number}"} for number in range(2)]
    await database.insert_many(ITEMS, rows, returning=["id"])


async def execute_many(database: PooledDatabase, turn: int) -> None:
    await database.execute_many(sa.insert(ITEMS), [{"id": 2 * turn + n, "name": f"{turn}.{n}"} for n in range(2)])


async def connection(database: PooledDatabase, turn: int) -> None:
    async with database.connection() as session:
        await session.fetch_val("SELECT 1")
        await session.execute(INSERT, {"id": turn, "name": f"n{turn}"})


async def insert_soon(database: PooledDatabase, turn: int) -> None:
    await database.insert_soon(ITEMS, {"id": turn, "name": f"n{turn}"})


WORKS = [
    (fetch, (0,)),
    (execute, (0, 1)),
    (set_something, (0,)),
    (transaction, (0, 2)),
    (nested, (0, 2)),
    (failing, (0,)),
    (iterate, (0,)),
    (insert_many, (0, 20)),
    (insert_returning, (0, 2)),
    (execute_many, (0, 2)),
    (connection, (0, 1)),
    (insert_soon, (0, 1)),
]


@pytest.mark.parametrize(("work", "rows"), WORKS, ids=lambda value: getattr(value, "__name__", ""))
async def test_a_cancellation_never_leaks_a_connection(
    items: PooledDatabase, work: Work, rows: tuple[int, ...]
) -> None:
    before = 0
    turn = 0
    for turn in range(MOST_WAITS):
        was_cut = await cancelled_at_wait(work(items, turn), turn)
        await check_connections(items)
        after = int(await items.fetch_val("SELECT count(*) FROM items"))
        assert after - before in (rows if was_cut else rows[-1:])
        before = after
        if not was_cut:
            break
    assert 0 < turn < MOST_WAITS - 1


@pytest.mark.parametrize("work", [fetch, transaction, iterate], ids=lambda work: work.__name__)
async def test_a_cancellation_while_waiting_for_a_connection_leaks_none(items: PooledDatabase, work: Work) -> None:
    limit = items.driver.writers.limits.max_size
    turn = 0
    for turn in range(MOST_WAITS):
        acquired = [items.connection() for _ in range(limit)]
        async with asyncio.TaskGroup() as group:
            release = asyncio.Event()

            async def hold(session: Any, release: asyncio.Event = release) -> None:
                async with session:
                    await release.wait()

            for session in acquired:
                group.create_task(hold(session))
            if items.driver.readers is not items.driver.writers:
                taken = [await items.driver.readers.acquire() for _ in range(limit)]
                for lent in taken:
                    asyncio.get_running_loop().call_soon(items.driver.readers.release, lent)
            asyncio.get_running_loop().call_soon(release.set)
            was_cut = await cancelled_at_wait(work(items, turn), turn)
        await check_connections(items)
        if not was_cut:
            break
    assert 0 < turn < MOST_WAITS - 1


async def test_a_second_cancellation_during_rollback_leaks_no_connection(items: PooledDatabase) -> None:
    for turn in range(12):
        task = asyncio.create_task(transaction(items, turn))
        while not task.done():
            for _ in range(turn):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.sleep(0)
        await check_connections(items)
    left = await names(items)
    assert sorted(name.replace("a", "b") for name in left) == sorted(2 * [name for name in left if "b" in name])


async def test_an_abandoned_statement_is_interrupted(items: PooledDatabase) -> None:
    slow = f"SELECT {'SLEEP' if items.dialect == 'mysql' else 'pg_sleep'}(600)"
    if items.dialect == "sqlite":
        slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    for waits in (0, 1, 2, 50):
        task = asyncio.create_task(items.fetch_all(slow))
        for _ in range(waits):
            await asyncio.sleep(0)
        task.cancel()
        await check_connections(items)


@pytest.mark.slow
async def test_ten_thousand_cancelled_reads_leak_no_connection(items: PooledDatabase) -> None:
    for number in range(100):
        tasks = [asyncio.create_task(items.fetch_all("SELECT 1")) for _ in range(100)]
        for _ in range(number % 7):
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    await wait_until_released(items)
    await check_connections(items)
    assert all_released(items)
