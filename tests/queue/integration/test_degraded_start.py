"""A service with pool and queue starts while its database is unavailable, and recovers with it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scalekit.contracts import DATABASE, QUEUE, Consumers, Message
from scalekit.errors import Unavailable
from scalekit.health.monitor import Status
from scalekit.host import Host
from tests.queue.harness import LIMIT, serving, wait_until
from tests.servers import Postgres

pytestmark = [pytest.mark.anyio, pytest.mark.needs("postgres")]


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


async def pool_error(host: Host) -> str:
    await host.monitor.check_once()
    result = host.monitor.results["pool"]
    return "" if result.status is Status.HEALTHY else result.last_error


async def put(host: Host, number: int) -> bool:
    try:
        database = host.context.get(DATABASE)
        async with database.transaction():
            await host.context.get(QUEUE).publish_after(database, "made", {"number": number})
    except (Unavailable, TimeoutError):
        return False
    return True


async def test_outbox_and_inbox_recover_with_the_database(
    postgres: Postgres, sqlite_table: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "0001_items.sql").write_text("CREATE TABLE items (number int)")
    seen: list[int] = []
    consumers = Consumers()

    @consumers.on("made", dedupe="1h")
    async def record(message: Message[Any]) -> None:
        seen.append(message.body["number"])

    await asyncio.to_thread(postgres.kill)
    pool = {
        "url": postgres.url,
        "acquire_timeout": "300ms",
        "migrations": str(tmp_path),
        "migrate_on_start": True,
    }
    async with serving(sqlite_table, consumers, pool=pool) as host:
        assert "nothing listens" in await pool_error(host)
        assert not await put(host, 1)
        await asyncio.to_thread(postgres.start)
        async with asyncio.timeout(LIMIT):
            while not await put(host, 2):
                await asyncio.sleep(0.05)
            while await pool_error(host):
                await asyncio.sleep(0.05)
        await wait_until(lambda: seen == [2])
        assert await host.context.get(DATABASE).fetch_val("SELECT count(*) FROM items") == 0


async def test_existing_tables_need_no_privilege_to_create_them(
    postgres: Postgres, sqlite_table: dict[str, Any]
) -> None:
    async with serving(sqlite_table, pool={"url": postgres.url}):
        pass
    postgres.sql("CREATE ROLE app LOGIN")
    postgres.sql("GRANT ALL ON ALL TABLES IN SCHEMA public TO app")
    async with serving(sqlite_table, pool={"url": postgres.url.replace("postgres@", "app@")}) as host:
        assert await put(host, 1)


async def test_the_tables_are_created_once_a_read_only_database_accepts_writes(
    postgres: Postgres, sqlite_table: dict[str, Any]
) -> None:
    postgres.sql("ALTER SYSTEM SET default_transaction_read_only = on")
    postgres.sql("SELECT pg_reload_conf()")
    async with serving(sqlite_table, pool={"url": postgres.url}) as host:
        assert not await put(host, 1)
        assert "default_transaction_read_only" in await pool_error(host)
        postgres.sql("ALTER SYSTEM RESET default_transaction_read_only")
        postgres.sql("SELECT pg_reload_conf()")
        async with asyncio.timeout(LIMIT):
            while not await put(host, 2):
                await asyncio.sleep(0.05)
