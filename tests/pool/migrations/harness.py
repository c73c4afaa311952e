"""Migrate one database: ``migration_backend.py DIALECT ADDRESS DIRECTORY`` prints the names of what it applied."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import aiosqlite
import asyncpg

from scalekit_pool.migrations.backends import STATEMENT_TIMEOUT, migration_backend
from scalekit_pool.migrations.runner import MigrationBackend, migrate


@asynccontextmanager
async def connected(dialect: str, address: str) -> AsyncGenerator[Any, None]:
    """Return the driver's own connection to a SQLite file or a PostgreSQL URL."""
    if dialect == "sqlite":
        async with aiosqlite.connect(address, isolation_level=None, timeout=0.0) as connection:
            await connection.execute_fetchall("PRAGMA foreign_keys = ON")
            yield connection
    else:
        connection = await asyncpg.connect(address, timeout=10, command_timeout=0.3)
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


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
