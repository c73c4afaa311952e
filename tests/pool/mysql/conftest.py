"""A database on the shared MariaDB."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from scalekit_pool.database import PooledDatabase
from scalekit_pool.mysql.connection import MysqlConnection
from tests.pool.harness import opened, wait_until_released


@pytest.fixture
async def maria(mariadb_url: str) -> AsyncGenerator[PooledDatabase, None]:
    async with opened(mariadb_url, max_size=2) as database:
        await database.execute("CREATE TABLE items (id INTEGER PRIMARY KEY AUTO_INCREMENT, name VARCHAR(50) UNIQUE)")
        await wait_until_released(database)
        yield database
        await wait_until_released(database)


@pytest.fixture
async def connection(maria: PooledDatabase) -> AsyncGenerator[MysqlConnection, None]:
    async with maria.connection() as session:
        yield session.raw_connection
