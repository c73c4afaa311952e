"""Migrate a database: ``harness.py DIALECT ADDRESS DIRECTORY`` prints the names of the applied migrations."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import aiosqlite
import asyncpg

from scalekit import Duration
from scalekit_pool.config import PoolConfig
from scalekit_pool.connections.server_address import parse_server_address
from scalekit_pool.migrations.backends import STATEMENT_TIMEOUT, migration_backend
from scalekit_pool.migrations.runner import MigrationBackend, migrate, pending
from scalekit_pool.mysql.connector import MysqlConnector


@asynccontextmanager
async def connected(dialect: str, address: str, command_timeout: float | None = 0.3) -> AsyncGenerator[Any, None]:
    """Return the driver's own connection to a SQLite file, a PostgreSQL URL or a MariaDB URL."""
    if dialect == "sqlite":
        async with aiosqlite.connect(address, isolation_level=None, timeout=0.0) as connection:
            await connection.execute_fetchall("PRAGMA foreign_keys = ON")
            yield connection
    elif dialect == "mysql":
        options = PoolConfig(statement_timeout=Duration("300ms"), sslmode="disable").driver_options
        connector = MysqlConnector(parse_server_address(address, 3306), options, False, lambda opened: None)
        opened = await connector.open()
        try:
            yield opened
        finally:
            await connector.close(opened)
    else:
        connection = await asyncpg.connect(address, timeout=10, command_timeout=command_timeout)
        try:
            yield connection
        finally:
            await connection.close(timeout=10)


@asynccontextmanager
async def open_session(
    dialect: str, address: str, limit: float = STATEMENT_TIMEOUT
) -> AsyncGenerator[MigrationBackend, None]:
    async with connected(dialect, address) as connection:
        yield migration_backend(dialect, connection, limit)


async def main(dialect: str, address: str, directory: str) -> None:
    async with open_session(dialect, address) as session:
        print(*await migrate(session, directory), sep="\n")


NUMBERS = count(1)
USERS = "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL);\n"
ADA = "INSERT INTO users VALUES (1, 'Ada');\n"


@dataclass
class MigratedDatabase:
    """The database of one test, and its directory of migrations."""

    dialect: str
    address: str
    directory: Path

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.directory / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def session(self, limit: float = STATEMENT_TIMEOUT) -> AbstractAsyncContextManager[MigrationBackend]:
        return open_session(self.dialect, self.address, limit)

    async def migrate(self, limit: float = STATEMENT_TIMEOUT) -> list[str]:
        async with self.session(limit) as session:
            return await migrate(session, self.directory)

    async def pending(self) -> list[str]:
        async with self.session() as session:
            return await pending(session, self.directory)

    async def rows(self, query: str) -> list[tuple[Any, ...]]:
        async with self.session() as session:
            return [tuple(row) for row in await session.fetch_all(query)]

    async def has(self, table: str) -> bool:
        async with self.session() as session:
            return await session.has_table(table)

    async def until_it_runs(self) -> None:
        """Wait until PostgreSQL runs the endless statement: an earlier cancellation has no effect."""
        active = "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid() AND query LIKE "
        while self.dialect == "postgresql" and not await self.rows(f"{active} '%pg_sleep%'"):
            pass

    async def recorded(self) -> list[str]:
        return [name for (name,) in await self.rows("SELECT name FROM scalekit_migrations ORDER BY number")]


ENDLESS = {
    "sqlite": "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT max(n) FROM c;",
    "postgresql": "SELECT pg_sleep(600);",
}


SLOW = {
    "sqlite": ENDLESS["sqlite"].replace("FROM c)", "FROM c WHERE n < 2000000)"),
    "postgresql": "SELECT pg_sleep(0.6);",
}


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
