"""pgbouncer in transaction mode: statements outside a transaction run in different sessions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator

import pytest
import sqlalchemy as sa

from scalekit_pool.database import PooledDatabase
from tests.pool.harness import opened, wait_until_released
from tests.pool.schema import ITEMS, create, names
from tests.servers import PgBouncer, Postgres

pytestmark = [pytest.mark.anyio, pytest.mark.needs("postgres", "pgbouncer")]


@pytest.fixture(scope="module")
def bouncer(shared_postgres: Postgres) -> Iterator[PgBouncer]:
    with PgBouncer(shared_postgres, pool_size=3) as bouncer:
        yield bouncer


@pytest.fixture
async def database(bouncer: PgBouncer, postgres_url: str) -> AsyncGenerator[PooledDatabase, None]:
    url = bouncer.url.removesuffix("postgres") + postgres_url.rpartition("/")[2]
    async with opened(url, statement_cache_size=0, max_size=10) as database:
        await create(database, ITEMS)
        yield database
        await wait_until_released(database)


async def test_statements_of_many_tasks_share_few_sessions(database: PooledDatabase) -> None:
    async def work(client: int) -> None:
        for number in range(5):
            values = {"id": 100 * client + number, "name": f"n{client}.{number}"}
            async with database.transaction():
                await database.execute(sa.insert(ITEMS), values)
                async with database.transaction(force_rollback=True):
                    await database.execute("UPDATE items SET name = 'gone' WHERE id = :id", {"id": values["id"]})
            query = sa.select(ITEMS.c.name).where(ITEMS.c.id.in_([values["id"]]))
            assert await database.fetch_val(query) == values["name"]

    await asyncio.gather(*(work(client) for client in range(10)))
    assert len(await names(database)) == 50


async def test_all_methods_insert_and_read_rows(database: PooledDatabase) -> None:
    rows = [{"id": n, "name": f"n{n}", "data": {"n": n}} for n in range(300)]
    assert await database.insert_many(ITEMS, rows[:250]) == 250
    assert len(await database.insert_many(ITEMS, rows[250:280], returning=["id"])) == 30
    assert await database.insert_many(ITEMS, rows, skip_duplicates=True) == 20
    await database.execute_many("UPDATE items SET price = :n WHERE id = :n", [{"n": n} for n in range(5)])
    assert await asyncio.gather(*(database.insert_soon(ITEMS, {"id": n, "name": f"n{n}"}) for n in (300, 301))) == [
        300,
        301,
    ]
    found = [row.id async for row in database.iterate("SELECT id FROM items ORDER BY id")]
    assert found == list(range(302))
    async with database.transaction():
        assert [row.id async for row in database.iterate("SELECT id FROM items ORDER BY id")] == found


async def test_errors_and_cancellations_leak_no_connection(database: PooledDatabase) -> None:
    for waits in range(6):
        task = asyncio.create_task(database.fetch_all("SELECT pg_sleep(30)"))
        for _ in range(waits):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(Exception, match="absent"):
            await database.fetch_all("SELECT absent")
    await wait_until_released(database)
    await database.execute("CREATE TABLE made (a int)")
    assert await database.fetch_val("SELECT count(*) FROM made") == 0
