"""Helpers shared by tests of the pool."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

from scalekit.contracts import TableObserver
from scalekit.telemetry import Telemetry
from scalekit_pool.config import PoolConfig
from scalekit_pool.connections.pool import ConnectionPool
from scalekit_pool.database import PooledDatabase
from scalekit_pool.factory import DatabaseFactory


@asynccontextmanager
async def opened(
    *urls: str,
    telemetry: Telemetry | None = None,
    read_only: bool = False,
    observer: TableObserver | None = None,
    **options: Any,
) -> AsyncGenerator[PooledDatabase, None]:
    """Open a database as the plugin does, with *options* of ``[plugins.pool]``.

    Without TLS: when asyncpg is cancelled while it negotiates TLS, it drops an error that cannot be caught.
    """
    config = PoolConfig(**{"sslmode": "disable", **options})
    factory = DatabaseFactory(config, telemetry or Telemetry(1000), observer)
    async with factory.open_any(urls, "primary", read_only=read_only) as database:
        yield database


async def wait_until(condition: Callable[[], bool], limit: float = 60.0) -> None:
    """Wait until *condition* holds."""
    async with asyncio.timeout(limit):
        while not condition():
            await asyncio.sleep(0.001)


def pools(database: PooledDatabase) -> list[ConnectionPool[Any]]:
    return list({id(pool): pool for pool in (database.driver.writers, database.driver.readers)}.values())


def all_released(database: PooledDatabase) -> bool:
    """Return whether every connection was released."""
    return all(pool.idle == pool.supplier.size and not pool.waiting for pool in pools(database))


async def wait_until_released(database: PooledDatabase) -> None:
    await wait_until(lambda: all_released(database))
