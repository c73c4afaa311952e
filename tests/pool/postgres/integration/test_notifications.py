"""Notifications arrive on a connection of their own, and the loss of it is reported."""

from __future__ import annotations

import asyncio

import pytest

from scalekit import Unavailable
from tests.pool.harness import opened, wait_until, wait_until_released
from tests.servers import Postgres

pytestmark = [pytest.mark.anyio, pytest.mark.needs("postgres")]
LISTENS = "SELECT pid FROM pg_stat_activity WHERE query = 'LISTEN \"events\"' AND state = 'idle'"


async def test_payloads_are_received_until_the_task_is_cancelled_and_the_connection_is_reset(
    shared_postgres: Postgres,
) -> None:
    received: list[str] = []
    async with opened(shared_postgres.url, max_size=2, leak_detection_threshold="10ms") as database:
        listening = asyncio.create_task(database.listen("events", received.append))
        await wait_until(lambda: bool(shared_postgres.sql(LISTENS)))
        await database.execute("SELECT pg_notify('events', 'one')")
        await wait_until(lambda: received == ["one"])
        listening.cancel()
        await asyncio.wait([listening])
        await wait_until_released(database)
        await database.execute("SELECT pg_notify('events', 'two')")
        assert shared_postgres.sql(LISTENS) == ""
    assert received == ["one"]


async def test_a_lost_connection_ends_the_listening(shared_postgres: Postgres) -> None:
    async with opened(shared_postgres.url) as database:
        listening = asyncio.create_task(database.listen("events", print))
        await wait_until(lambda: bool(shared_postgres.sql(LISTENS)))
        shared_postgres.sql(f"SELECT pg_terminate_backend({shared_postgres.sql(LISTENS)})")
        with pytest.raises(Unavailable, match="connection that listens on events was lost"):
            await listening
        assert await database.fetch_val("SELECT 1") == 1


async def test_a_pool_with_one_connection_does_not_listen(shared_postgres: Postgres) -> None:
    async with opened(shared_postgres.url, max_size=1) as database:
        with pytest.raises(RuntimeError, match="listening on events holds a connection of the pool; set max_size to 2"):
            await database.listen("events", print)
        assert await database.fetch_val("SELECT 1") == 1


async def test_sqlite_has_no_notifications() -> None:
    async with opened("sqlite:///:memory:") as database:
        with pytest.raises(NotImplementedError, match="SQLite sends no notifications; poll its tables"):
            await database.listen("events", print)
