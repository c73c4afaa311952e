"""Run migrations on the driver's own connection, of PostgreSQL, SQLite or MySQL."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg

from scalekit_pool.connections.driver import Arguments, RawConnection, Value
from scalekit_pool.migrations.files import Migration, MigrationError
from scalekit_pool.migrations.runner import LOCKED, RECORD, SERVER_TIMEOUT_SLACK, MigrationBackend, ScriptError
from scalekit_pool.migrations.sql_script import MARKER, line_at, split_statements

if TYPE_CHECKING:
    import aiosqlite

LOCK_ID = 0x5343_414C_454B_4954  # an arbitrary number that no other lock uses: ASCII of SCALEKIT
STATEMENT_TIMEOUT = 3600.0
"""Seconds that one statement, or the wait for another worker's lock, may take."""
BUSY_INTERVAL = 0.05

_BUILDS_INDEX = re.compile(r"(?:\s|--[^\n]*\n|/\*.*?\*/)*CREATE\b", re.IGNORECASE | re.DOTALL)
_INVALID_INDEXES = """SELECT indexrelid::regclass::text, relname FROM pg_index
JOIN pg_class ON pg_class.oid = indexrelid WHERE NOT indisvalid AND relkind = 'i'"""


def migration_backend(
    dialect: str, raw_connection: RawConnection, limit: float = STATEMENT_TIMEOUT
) -> MigrationBackend:
    """Return the backend for *raw_connection*, asyncpg's, asyncmy's or aiosqlite's with ``isolation_level=None``."""
    if dialect == "mysql":
        from scalekit_pool.migrations.mysql_backend import MysqlMigrations

        return MysqlMigrations(raw_connection, limit)
    backend = PostgresMigrations if dialect == "postgresql" else SqliteMigrations
    return backend(raw_connection, limit)


class PostgresMigrations:
    """Migrates over asyncpg. Every call has a timeout of its own: the pool's is meant for requests."""

    dialect = "postgresql"

    def __init__(self, connection: RawConnection, limit: float) -> None:
        self._connection = connection
        self._limit = limit

    @asynccontextmanager
    async def locked(self) -> AsyncGenerator[None, None]:
        """Run the body in a transaction, under an advisory lock that ends with it."""
        self._require_no_transaction()
        try:
            await self._wait_for_lock(self._begin_locked)
            yield
            await self._commit()
        finally:
            if not self._connection.is_closed():
                # Settings that the file changed must not affect the next one.
                rollback = "ROLLBACK; " if self._connection.is_in_transaction() else ""
                await self.execute(f"{rollback}RESET ROLE; RESET ALL")

    @asynccontextmanager
    async def locked_session(self) -> AsyncGenerator[None, None]:
        """Run the body outside a transaction, under the same advisory lock, which the session holds."""
        self._require_no_transaction()
        await self._wait_for_lock(self._lock_session)
        try:
            await self.execute(f"SET statement_timeout = '{self._limit + SERVER_TIMEOUT_SLACK:g}s'")
            yield
        finally:
            if not self._connection.is_closed():
                await self._connection.fetchval("SELECT pg_advisory_unlock($1)", LOCK_ID, timeout=self._limit)
                await self.execute("RESET ROLE; RESET ALL")

    async def has_table(self, name: str) -> bool:
        """Return whether the table *name* exists."""
        return bool(await self._connection.fetchval("SELECT to_regclass($1) IS NOT NULL", name, timeout=self._limit))

    async def execute(self, sql: str, *values: Value) -> None:
        """Run a statement with one ``?`` for each of *values*."""
        for number in range(len(values)):
            sql = sql.replace("?", f"${number + 1}", 1)
        await self._connection.execute(sql, *values, timeout=self._limit)

    async def apply(self, migration: Migration) -> None:
        """Record the file and run it as one message; raise ScriptError when it fails."""
        # Before the script, which may change the search path.
        await self.execute(RECORD, migration.number, migration.name, migration.checksum)
        await self._execute_script(migration.text)

    async def _execute_script(self, text: str) -> None:
        try:
            await self._connection.execute(text, timeout=self._limit)
        except asyncpg.ActiveSQLTransactionError as error:
            raise ScriptError(f"{_message(error)}: move the statement to a file that begins with {MARKER}") from error
        except asyncpg.PostgresError as error:
            position = getattr(error, "position", None)
            raise ScriptError(_message(error), line_at(text, int(position) - 1) if position else 0) from error
        except TimeoutError as error:
            raise ScriptError(f"not finished within {self._limit:g} s") from error

    async def execute_alone(self, statement: str) -> None:
        """Run *statement* outside a transaction; raise ScriptError, which names an invalid index that it left."""
        invalid = await self._invalid_indexes()
        used = [index for index, name in invalid.items() if _has_name(statement, name)]
        if used and _BUILDS_INDEX.match(statement):
            raise ScriptError(f"the index {used[0]} is invalid: run DROP INDEX CONCURRENTLY {used[0]}")
        try:
            await self._execute_script(statement)
        except ScriptError as error:
            left = [index for index in await self._invalid_indexes() if index not in invalid]
            remedy = f"it left an invalid index: run DROP INDEX CONCURRENTLY {left[0]}" if left else "fix it"
            raise ScriptError(f"{error}; {remedy}", error.line) from error

    async def fetch_all(self, sql: str) -> Sequence[Sequence[Value]]:
        """Return the rows of a query."""
        rows: Sequence[Sequence[Value]] = await self._connection.fetch(sql, timeout=self._limit)
        return rows

    async def _begin(self) -> None:
        # A snapshot from before the wait for the lock would not show the files that the other worker applied.
        await self.execute("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
        await self.execute(f"SET LOCAL statement_timeout = '{self._limit + SERVER_TIMEOUT_SLACK:g}s'")

    async def _begin_locked(self) -> bool:
        """Begin, and return whether this transaction has the lock; else roll back.

        A statement that waits has a snapshot, for which CREATE INDEX CONCURRENTLY of the lock's holder would wait.
        """
        await self._begin()
        if await self._connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", LOCK_ID, timeout=self._limit):
            return True
        await self.execute("ROLLBACK")
        return False

    async def _lock_session(self) -> bool:
        query = "SELECT pg_try_advisory_lock($1)"
        return bool(await self._connection.fetchval(query, LOCK_ID, timeout=self._limit))

    async def _wait_for_lock(self, try_lock: Callable[[], Awaitable[bool]]) -> None:
        try:
            async with asyncio.timeout(self._limit):
                while not await try_lock():  # noqa: ASYNC110 - another process ends the wait
                    await asyncio.sleep(BUSY_INTERVAL)
        except TimeoutError as error:
            raise MigrationError(LOCKED.format(self._limit)) from error

    async def _invalid_indexes(self) -> dict[str, str]:
        """Return the invalid indexes, as SQL has them, and their names; a build has failed, or is in progress."""
        if self._connection.is_closed():
            return {}
        return dict(await self._connection.fetch(_INVALID_INDEXES, timeout=self._limit))

    def _require_no_transaction(self) -> None:
        if self._connection.is_in_transaction():
            raise MigrationError("a transaction is open on this connection: migrate outside a transaction")

    async def _commit(self) -> None:
        try:
            await self.execute("COMMIT")
        except asyncpg.IntegrityConstraintViolationError as error:  # a deferred constraint
            raise ScriptError(_message(error)) from error


def _has_name(statement: str, name: str) -> bool:
    """Return whether *statement* contains *name*, in quotes or not."""
    return re.search(rf"(?<![\w$]){re.escape(name)}(?![\w$])", statement, re.IGNORECASE) is not None


def _message(error: Exception) -> str:
    return str(getattr(error, "message", "") or error)  # without the detail, which may contain row values


class SqliteMigrations:
    """Migrates over aiosqlite.

    Foreign keys are off during a migration and checked at its end, as SQLite's documented procedure for changing a
    table requires: with them on, dropping the old table would delete rows that refer to it.
    """

    dialect = "sqlite"

    def __init__(self, connection: aiosqlite.Connection, limit: float) -> None:
        self._connection = connection
        self._limit = limit

    @asynccontextmanager
    async def locked(self) -> AsyncGenerator[None, None]:
        """Run the body in a transaction that holds the write lock."""
        if self._connection.in_transaction:
            raise MigrationError("a transaction is open on this connection: migrate outside a transaction")
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
        """Return whether the table *name* exists."""
        return bool(await self._run("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", name))

    async def execute(self, sql: str, *values: Value) -> None:
        """Run a statement with one ``?`` for each of *values*."""
        await self._run(sql, *values)

    async def apply(self, migration: Migration) -> None:
        """Record the file and run it statement by statement; raise ScriptError when one fails."""
        await self.execute(RECORD, migration.number, migration.name, migration.checksum)
        for line, statement in split_statements(migration.text):
            try:
                await self._run(statement)
            except sqlite3.Error as error:
                raise ScriptError(str(error), line) from error
            except TimeoutError as error:
                raise ScriptError(f"not finished within {self._limit:g} s", line) from error

    async def fetch_all(self, sql: str) -> Sequence[Sequence[Value]]:
        """Return the rows of a query."""
        return await self._run(sql)

    async def _lock(self) -> None:
        try:
            await self.execute("BEGIN IMMEDIATE")
        except TimeoutError as error:
            raise MigrationError(LOCKED.format(self._limit)) from error

    async def _run(self, sql: str, *values: Value) -> list[Sequence[Value]]:
        try:
            async with asyncio.timeout(self._limit):
                # Another process may lock the file longer than busy_timeout.
                while (rows := await self._rows(sql, values)) is None:  # noqa: ASYNC110 - another process ends the wait
                    await asyncio.sleep(BUSY_INTERVAL)
                return rows
        except (TimeoutError, asyncio.CancelledError):
            await self._connection.interrupt()  # else its thread would continue
            raise

    async def _rows(self, sql: str, values: Arguments) -> list[Sequence[Value]] | None:
        try:
            return list(await self._connection.execute_fetchall(sql, values))
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            return None

    async def _check_foreign_keys(self) -> None:
        for table, _, parent, _ in await self.fetch_all("PRAGMA foreign_key_check"):
            raise ScriptError(
                f"rows of {table} refer to missing rows of {parent}; foreign keys are off during a migration, "
                "so it must change both tables"
            )
