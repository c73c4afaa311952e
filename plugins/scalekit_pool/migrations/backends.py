"""Migrate over the drivers' own connections."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg

from scalekit_pool.migrations.files import MigrationError
from scalekit_pool.migrations.runner import Migrating, ScriptError
from scalekit_pool.migrations.sql_script import line_at, sqlite_statements

if TYPE_CHECKING:
    import aiosqlite

LOCK = 0x5343_414C_454B_4954  # any number will do that nobody else locks: this one is SCALEKIT
LIMIT = 3600.0
"""Seconds that one statement, or the wait for another worker, may take."""
BUSY_INTERVAL = 0.05
SLACK = 5.0  # after which the server ends a statement whose worker is gone

_BUSY = "another worker has the lock for {:g} s: migrate again when it is done"


def migrating(dialect: str, raw_connection: Any, limit: float = LIMIT) -> Migrating:
    """Return what migrates over *raw_connection*, asyncpg's or aiosqlite's with ``isolation_level=None``."""
    return Postgres(raw_connection, limit) if dialect == "postgresql" else SQLite(raw_connection, limit)


class Postgres:
    """Migrates over asyncpg. Every call has the limit of this class: that of the pool is for requests."""

    dialect = "postgresql"

    def __init__(self, connection: Any, limit: float) -> None:
        self._connection = connection
        self._limit = limit

    @asynccontextmanager
    async def locked(self) -> AsyncGenerator[None, None]:
        """Run the body in a transaction, under an advisory lock that ends with it."""
        if self._connection.is_in_transaction():
            raise MigrationError("a transaction is open on this connection: migrate outside of it")
        try:
            await self._begin()
            await self._lock()
            yield
            await self._commit()
        finally:
            if not self._connection.is_closed():
                # What the file has SET would hold for the next one, too.
                rollback = "ROLLBACK; " if self._connection.is_in_transaction() else ""
                await self.execute(f"{rollback}RESET ROLE; RESET ALL")

    async def has_table(self, name: str) -> bool:
        """Tell whether there is a table *name*."""
        return bool(await self._connection.fetchval("SELECT to_regclass($1) IS NOT NULL", name, timeout=self._limit))

    async def execute(self, sql: str, *values: Any) -> None:
        """Run a statement that has ``?`` for each of *values*."""
        for number in range(len(values)):
            sql = sql.replace("?", f"${number + 1}", 1)
        await self._connection.execute(sql, *values, timeout=self._limit)

    async def execute_script(self, text: str) -> None:
        """Run the text as one message; raises ScriptError."""
        try:
            await self._connection.execute(text, timeout=self._limit)
        except asyncpg.PostgresError as error:
            position = getattr(error, "position", None)
            raise ScriptError(_message(error), line_at(text, int(position) - 1) if position else 0) from error
        except TimeoutError as error:
            raise ScriptError(f"not done within {self._limit:g} s") from error

    async def fetch_all(self, sql: str) -> Sequence[Sequence[Any]]:
        """Return the rows of a query."""
        rows: Sequence[Sequence[Any]] = await self._connection.fetch(sql, timeout=self._limit)
        return rows

    async def _begin(self) -> None:
        # Whatever the default is: a snapshot from before the wait would not show what the other worker did.
        await self.execute("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
        await self.execute(f"SET LOCAL statement_timeout = '{self._limit + SLACK:g}s'")

    async def _lock(self) -> None:
        try:
            await self.execute("SELECT pg_advisory_xact_lock(?)", LOCK)
        except (TimeoutError, asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError) as error:
            raise MigrationError(_BUSY.format(self._limit)) from error

    async def _commit(self) -> None:
        try:
            await self.execute("COMMIT")
        except asyncpg.IntegrityConstraintViolationError as error:  # one that is deferred
            raise ScriptError(_message(error)) from error


def _message(error: Exception) -> str:
    return str(getattr(error, "message", "") or error)  # without the detail, which may have values of rows


class SQLite:
    """Migrates over aiosqlite.

    Foreign keys are off meanwhile and checked at the end, as SQLite's own procedure for changing a table has it: with
    them on, dropping the old table would delete what refers to it.
    """

    dialect = "sqlite"

    def __init__(self, connection: aiosqlite.Connection, limit: float) -> None:
        self._connection = connection
        self._limit = limit

    @asynccontextmanager
    async def locked(self) -> AsyncGenerator[None, None]:
        """Run the body in a transaction that is the only one to write."""
        if self._connection.in_transaction:
            raise MigrationError("a transaction is open on this connection: migrate outside of it")
        foreign_keys = bool((await self.fetch_all("PRAGMA foreign_keys"))[0][0])
        try:
            await self.execute("PRAGMA foreign_keys = OFF")
            await self._lock()
            yield
            if foreign_keys:
                await self._check_foreign_keys()
            await self.execute("COMMIT")
        finally:
            await self._connection.rollback()
            await self.execute(f"PRAGMA foreign_keys = {foreign_keys:d}")

    async def has_table(self, name: str) -> bool:
        """Tell whether there is a table *name*."""
        return bool(await self._run("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", name))

    async def execute(self, sql: str, *values: Any) -> None:
        """Run a statement that has ``?`` for each of *values*."""
        await self._run(sql, *values)

    async def execute_script(self, text: str) -> None:
        """Run the text statement by statement; raises ScriptError."""
        for line, statement in sqlite_statements(text):
            try:
                await self._run(statement)
            except sqlite3.Error as error:
                raise ScriptError(str(error), line) from error
            except TimeoutError as error:
                raise ScriptError(f"not done within {self._limit:g} s", line) from error

    async def fetch_all(self, sql: str) -> Sequence[Sequence[Any]]:
        """Return the rows of a query."""
        return await self._run(sql)

    async def _lock(self) -> None:
        try:
            await self.execute("BEGIN IMMEDIATE")
        except TimeoutError as error:
            raise MigrationError(_BUSY.format(self._limit)) from error

    async def _run(self, sql: str, *values: Any) -> list[Any]:
        try:
            async with asyncio.timeout(self._limit):
                # Another process may lock the file for longer than the connection would wait.
                while (rows := await self._rows(sql, values)) is None:  # noqa: ASYNC110 - it is another process that ends the wait
                    await asyncio.sleep(BUSY_INTERVAL)
                return rows
        except (TimeoutError, asyncio.CancelledError):
            await self._connection.interrupt()  # the thread would go on with it
            raise

    async def _rows(self, sql: str, values: tuple[Any, ...]) -> list[Any] | None:
        try:
            return list(await self._connection.execute_fetchall(sql, values))
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            return None

    async def _check_foreign_keys(self) -> None:
        for table, _, parent, _ in await self.fetch_all("PRAGMA foreign_key_check"):
            raise ScriptError(
                f"rows of {table} would refer to rows of {parent} that are not there; foreign keys do not act within a "
                "migration, so it has to change both"
            )
