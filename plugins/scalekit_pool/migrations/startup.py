"""Apply migrations at the start, and once the database is there where it is not yet."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from scalekit import Unavailable
from scalekit_pool.commands import migrate_database
from scalekit_pool.database import Database
from scalekit_pool.driver import Failure
from scalekit_pool.migrations.files import MigrationError

logger = logging.getLogger("scalekit.pool")

RETRY_INTERVAL = 0.5
"""Seconds between two attempts while the database is gone."""

_PASSING = (Failure.LOST, Failure.DEMOTED, Failure.UNWRITABLE, Failure.BUSY, Failure.LATE)


class StartMigration:
    """The migrations in *directory*; *trouble* is why they are not applied yet."""

    def __init__(self, directory: str) -> None:
        self.trouble = ""
        self._directory = directory

    @asynccontextmanager
    async def applied(self, database: Database) -> AsyncGenerator[None, None]:
        """Apply them to *database* before the body, or beside it while the database is gone; raises MigrationError."""
        if await self._apply(database):
            yield
            return
        logger.warning("the migrations are applied once the database is there: %s", self.trouble)
        task = asyncio.create_task(self._apply_later(database), name="scalekit: migrations")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _apply(self, database: Database) -> bool:
        try:
            if database.trouble:
                raise Unavailable(database.trouble)
            await migrate_database(database, self._directory)
        except MigrationError:
            raise
        except Exception as error:
            if not isinstance(error, Unavailable) and database.driver.failure(error, None) not in _PASSING:
                raise
            self.trouble = f"the migrations are not applied yet: {error}"
            return False
        self.trouble = ""
        return True

    async def _apply_later(self, database: Database) -> None:
        try:
            applied = False
            while not applied:
                await asyncio.sleep(RETRY_INTERVAL)
                applied = await self._apply(database)
            logger.info("the migrations are applied")
        except Exception as error:
            self.trouble = f"the migrations cannot be applied: {error}"
            logger.error("the migrations cannot be applied: %s", error)
