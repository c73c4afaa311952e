"""The tables of plugins in a database, and their creation."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from scalekit.contracts.database import Database, Statements
from scalekit.errors import StartError, Unavailable

INSUFFICIENT_PRIVILEGE = "42501"
"""PostgreSQL's error code."""
LOCK = 0x5CA1E417
"""PostgreSQL's advisory lock for creating tables: concurrent IF NOT EXISTS statements fail."""
_TYPES = {
    "sqlite": {"number": "INTEGER PRIMARY KEY AUTOINCREMENT", "bytes": "BLOB"},
    "postgresql": {"number": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY", "bytes": "BYTEA"},
}
_EXIST = """
SELECT bool_and(to_regclass(name) IS NOT NULL OR to_regproc(name) IS NOT NULL)
FROM unnest(CAST(:names AS text[])) AS name
"""


@dataclass(frozen=True, slots=True)
class TableDefinition:
    """The *statements* that create a table with its indexes and functions, which have the names *objects*.

    ``{number}`` is the type of a primary key that the database generates, ``{bytes}`` that of binary data. Every
    statement leaves what exists unchanged, as ``CREATE TABLE IF NOT EXISTS`` does.
    """

    objects: tuple[str, ...]
    statements: tuple[str, ...]


class DatabaseSchema:
    """Creates *tables* in *database* as soon as it accepts writes; *plugin* is named in the log.

    On PostgreSQL a role without the privilege to create tables can use those that exist. Raises StartError, which ends
    with *remedy*, for another database than PostgreSQL and SQLite.
    """

    def __init__(
        self, plugin: str, database: Database, *tables: TableDefinition, remedy: str = "use one of these"
    ) -> None:
        if database.dialect not in _TYPES:
            raise StartError(
                f"the tables of {plugin} need PostgreSQL or SQLite, and [plugins.pool] has {database.dialect}; {remedy}"
            )
        self._plugin = plugin
        self._database = database
        self._tables = tables
        self._lock = asyncio.Lock()
        self._created = False

    async def create(self) -> None:
        """Create the tables unless they exist.

        In a transaction, such as an outer one, which may be rolled back, they count as created once it is committed.
        """
        if self._created:
            return
        async with self._lock:
            if not self._created:
                await self._create_missing(self._database)
                await self._database.on_commit(self._record_creation)

    async def create_in_transaction(self, transaction: Statements) -> None:
        """Create the tables in *transaction*, which may be rolled back."""
        if not self._created:
            await self._create_missing(transaction)

    async def create_at_start(self) -> None:
        """Create the tables; while the database is unavailable, the first operation that needs them creates them.

        Raises StartError when the role may not create them.
        """
        try:
            if reason := self._database.unreachable_reason:
                raise Unavailable(reason)
            await self.create()
        except (Unavailable, TimeoutError) as error:
            logging.getLogger(f"scalekit.{self._plugin}").warning(
                "the tables of %s will be created once the database accepts writes: %s", self._plugin, error
            )
        except Exception as error:
            if getattr(error, "sqlstate", "") != INSUFFICIENT_PRIVILEGE:
                raise
            names = ", ".join(name for table in self._tables for name in table.objects[:1])
            raise StartError(
                f"the role of the database may not create the tables of {self._plugin}, and some are missing: {error};"
                f" start once with a role that may, and grant this one SELECT, INSERT, UPDATE and DELETE on {names}"
            ) from error

    async def _record_creation(self) -> None:
        self._created = True

    async def _create_missing(self, database: Statements) -> None:
        dialect = self._database.dialect
        if dialect == "postgresql" and await self._exist(database):
            return  # IF NOT EXISTS needs the privilege to create tables even when they exist
        async with database.transaction():
            if dialect == "postgresql":
                await database.fetch_val("SELECT pg_advisory_xact_lock(:lock)", {"lock": LOCK})
            for table in self._tables:
                for statement in table.statements:
                    await database.execute(statement.format(**_TYPES[dialect]))

    async def _exist(self, database: Statements) -> bool:
        names = [name for table in self._tables for name in table.objects]
        return bool(await database.fetch_val(_EXIST, {"names": names}))
