from __future__ import annotations

import asyncio
from typing import Any

import pytest

from scalekit import Unavailable
from tests.pool.conftest import POSTGRES
from tests.pool.harness import wait_until, wait_until_released

pytestmark = pytest.mark.anyio


async def test_statement_timeout_cancels_the_statement(open_database: Any) -> None:
    async with open_database(statement_timeout="50ms", max_size=1) as database:
        slow = f"SELECT {'SLEEP' if database.dialect == 'mysql' else 'pg_sleep'}(60), 's3cr3t'"
        if database.dialect == "sqlite":
            slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*), 's3cr3t' FROM n"
        with pytest.raises(TimeoutError, match=r"exceeded statement_timeout: .*SELECT") as error:
            await database.fetch_all(slow)
        assert "s3cr3t" not in str(error.value)
        with pytest.raises(TimeoutError):
            async with database.transaction():
                await database.execute(slow)
        with pytest.raises(TimeoutError):
            async for _row in database.iterate(slow):
                pass
        assert await database.fetch_val("SELECT 1") == 1
        await wait_until_released(database)


@pytest.mark.parametrize("url", [POSTGRES], indirect=True)
async def test_a_read_is_retried_once_after_a_lost_connection(open_database: Any) -> None:
    async with open_database(max_size=3, min_size=3) as database:
        await wait_until(lambda: database.driver.writers.idle == 3)

        async def until_found(query: str) -> int:
            find = (
                "SELECT pid FROM pg_stat_activity WHERE query = :query AND state = 'active' AND wait_event = 'PgSleep'"
            )
            async with asyncio.timeout(60):
                while (pid := await database.fetch_val(find, {"query": query})) is None:
                    pass
            return int(pid)

        async def end(query: str) -> None:
            pid = await until_found(query)
            await database.fetch_val("SELECT pg_terminate_backend(:pid, 10000)", {"pid": pid})

        async def ended(query: str, times: int) -> Any:
            task = asyncio.create_task(database.fetch_all(query))
            for _ in range(times):
                await end(query)
            return await task

        await database.execute("CREATE TABLE pace AS SELECT 60 AS seconds")
        await database.execute("CREATE TABLE made (a int)")
        read = "SELECT 1 AS a FROM pg_sleep((SELECT seconds FROM pace))"
        with pytest.raises(Unavailable, match="lost"):
            await ended(read, 2)
        with pytest.raises(Unavailable, match="outcome of a write in progress is unknown"):
            await ended("INSERT INTO made SELECT 1 FROM pg_sleep(60)", 1)
        assert await database.fetch_val("SELECT count(*) FROM made") == 0
        task = asyncio.create_task(database.fetch_all(read))
        await until_found(read)
        await database.execute("UPDATE pace SET seconds = 0")
        await end(read)
        assert (await task)[0].a == 1
        await wait_until_released(database)
