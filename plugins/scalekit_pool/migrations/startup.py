"""Apply migrations at the start, or as soon as an unreachable database is back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Protocol

from scalekit import ConfigError, Key, Problem, Unavailable, background_task
from scalekit.contracts import Database
from scalekit_pool.migrations.files import MigrationError, migrations_folder, read_migrations, uses_alembic

logger = logging.getLogger("scalekit.pool")

BY_COMMAND: Key[bool] = Key("migrations by command", plugin="pool")
"""Provided by commands that migrate, or list what is pending, themselves: the start applies nothing then."""
RETRY_INTERVAL = 0.5
"""Seconds between two attempts while the database is unreachable."""


def verify_migrations(migrations: str, dialect: str) -> None:
    """Raise ConfigError when the files of *migrations* for *dialect* cannot be read or applied at a start."""
    try:
        if uses_alembic(migrations):
            from scalekit_pool.migrations.alembic_revisions import load_revisions  # loads Alembic

            load_revisions(migrations)
        else:
            read_migrations(migrations_folder(migrations), dialect)
    except MigrationError as error:
        raise ConfigError([Problem(str(error), "plugins.pool.migrations", plugin="pool")]) from error


class StartupDatabase(Database, Protocol):
    """A database that tells outages from other errors."""

    def is_outage(self, error: Exception) -> bool:
        """Return whether *error* means that the database is unreachable or takes no writes, which may pass."""
        ...


class StartupMigrations:
    """The *migrations* of the configuration; *error* says why they are not applied yet."""

    def __init__(self, migrations: str) -> None:
        self.error = ""
        self._migrations = migrations

    @asynccontextmanager
    async def apply(self, database: StartupDatabase) -> AsyncGenerator[None, None]:
        """Apply them to *database* before the body, or concurrently while it is unreachable; raise MigrationError."""
        if await self._apply(database):
            yield
            return
        logger.warning("migrations postponed until the database is reachable: %s", self.error)
        async with background_task(self._apply_later(database), "migrations"):
            yield

    async def _apply(self, database: StartupDatabase) -> bool:
        from scalekit_pool.migrations.source import migrate_database  # loads the drivers

        try:
            if database.unreachable_reason:
                raise Unavailable(database.unreachable_reason)
            await migrate_database(database, self._migrations)
        except MigrationError:
            raise
        except Exception as error:
            if not database.is_outage(error):
                raise
            self.error = f"migrations not applied yet: {error}"
            return False
        self.error = ""
        return True

    async def _apply_later(self, database: StartupDatabase) -> None:
        try:
            applied = False
            while not applied:
                await asyncio.sleep(RETRY_INTERVAL)
                applied = await self._apply(database)
            logger.info("migrations applied")
        except Exception as error:
            self.error = f"migrations failed: {error}"
            logger.error("migrations failed: %s", error)
