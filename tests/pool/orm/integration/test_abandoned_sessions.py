"""Sessions that end in another thread, or without an end, or while another task commits."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from sqlalchemy import select, text

from scalekit_pool.database import PooledDatabase
from tests.pool.conftest import POSTGRES
from tests.pool.harness import all_released, wait_until_released
from tests.pool.orm.shop import Author, shop

pytestmark = pytest.mark.anyio

NUMBERS = text("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) SELECT i FROM n")
UPDATE = text("UPDATE authors SET name = 'uncommitted'")


async def test_a_session_closed_in_a_thread_releases_its_connection(database: PooledDatabase) -> None:
    async with shop(database) as session:
        await session.execute(UPDATE)
        assert not all_released(database)
        await asyncio.to_thread(session.sync_session.close)
        await wait_until_released(database)
        assert await session.scalar(select(Author.name)) == "anna"


@pytest.mark.parametrize("url", ["file", POSTGRES], indirect=True)
async def test_a_session_closed_in_a_thread_releases_the_connection_of_a_stream(database: PooledDatabase) -> None:
    async with shop(database) as session:
        rows = await session.stream_scalars(NUMBERS)
        assert not all_released(database)
        await asyncio.to_thread(session.sync_session.close)
        await wait_until_released(database)
        await rows.close()


@pytest.mark.filterwarnings("ignore:The garbage collector")
async def test_a_lost_session_collected_in_a_thread_releases_its_connection(database: PooledDatabase) -> None:
    async def lose() -> None:
        lost: Any = database.sessions()
        await lost.execute(UPDATE)
        lost.itself = lost  # only the garbage collector finds it

    async with shop(database) as session:
        gc.collect()
        gc.disable()
        try:
            await asyncio.create_task(lose())
            assert not all_released(database)
            await asyncio.to_thread(gc.collect)
        finally:
            gc.enable()
        await wait_until_released(database)
        assert await session.scalar(select(Author.name)) == "anna"
