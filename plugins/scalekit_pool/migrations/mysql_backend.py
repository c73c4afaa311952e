"""Run migrations on a connection of asyncmy to MySQL or MariaDB.

MySQL commits before and after each statement that defines tables, so a file that fails may be applied in part. Its row
in the table of migrations is written before the file, as incomplete, and completed after it: what was applied in part,
or when the process ended, is refused until somebody has put it right.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from zlib import crc32

from asyncmy import errors

from scalekit_pool.connections.driver import Untyped, Value
from scalekit_pool.migrations.files import Migration, MigrationError
from scalekit_pool.migrations.mysql_script import split_mysql_statements
from scalekit_pool.migrations.runner import (
    INCOMPLETE,
    LOCKED,
    NOTHING_APPLIED,
    RECORD,
    SERVER_TIMEOUT_SLACK,
    TABLE,
    ScriptError,
)
from scalekit_pool.mysql.connection import MysqlConnection

_PARTLY = (
    "the statements before it are applied, since MySQL commits each that defines tables: undo them, or run the rest by "
    f"hand, and then delete the row of this number from {TABLE}, or set its checksum to {{}}"
)


_VALUE = re.compile(r"(?<=entry )'.*' (?=for key)|(?<=value: )'.*' (?=for )", re.DOTALL)
"""The value in a message, which may be personal data."""


class MysqlMigrations:
    """Migrates over asyncmy, one statement at a time."""

    dialect = "mysql"

    def __init__(self, connection: MysqlConnection, limit: float) -> None:
        self._connection = connection
        self._limit = limit

    @asynccontextmanager
    async def locked(self) -> AsyncGenerator[None, None]:
        """Run the body under a lock of the session."""
        if self._connection.in_transaction:
            raise MigrationError("a transaction is open on this connection: migrate outside a transaction")
        await self._set_limit(self._limit + SERVER_TIMEOUT_SLACK)
        lock = await self._lock()
        try:
            yield
        finally:
            if self._connection.is_usable:
                await self.execute("DO RELEASE_LOCK(?)", lock)

    async def has_table(self, name: str) -> bool:
        """Return whether the table *name* exists."""
        found = "SELECT 1 FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?"
        return bool((await self._run(found, name)).rows)

    async def execute(self, sql: str, *values: Value) -> None:
        """Run a statement with one ``?`` for each of *values*."""
        await self._run(sql, *values)

    async def apply(self, migration: Migration) -> None:
        """Run the file and record it; raise ScriptError, which says whether it is applied in part."""
        await self.execute(RECORD, migration.number, migration.name, INCOMPLETE)
        await self.execute("START TRANSACTION")
        committed = 0
        for applied, (line, statement) in enumerate(split_mysql_statements(migration.text)):
            try:
                await self._run(statement)
            except (errors.MySQLError, TimeoutError) as error:
                message, remedy = await self._undo(migration, error, applied, committed)
                raise ScriptError(message, line, remedy) from error
            if not self._connection.in_transaction:
                committed = applied + 1
                await self.execute("START TRANSACTION")
        await self.execute(f"UPDATE {TABLE} SET checksum = ? WHERE number = ?", migration.checksum, migration.number)
        await self.execute("COMMIT")

    async def fetch_all(self, sql: str) -> Sequence[Sequence[Value]]:
        """Return the rows of a query."""
        rows: Sequence[Sequence[Value]] = (await self._run(sql)).rows
        return rows

    async def _undo(self, migration: Migration, error: Exception, applied: int, committed: int) -> tuple[str, str]:
        """Roll back the statements of *migration* that are not *committed*; return what happened, and the remedy."""
        partly = _PARTLY.format(migration.checksum)
        if isinstance(error, TimeoutError):
            return f"not finished within {self._limit:g} s", partly
        message = _VALUE.sub("", str(error.args[-1]))
        if not self._connection.is_usable:
            return message, partly
        await self._connection.ping(reconnect=False)  # tells whether the failed statement has committed the others
        if not self._connection.in_transaction:
            committed = applied
        await self.execute("ROLLBACK")
        if committed:
            return message, partly
        await self.execute(f"DELETE FROM {TABLE} WHERE number = ?", migration.number)
        return message, NOTHING_APPLIED

    async def _lock(self) -> str:
        """Take the lock of this database, and return its name; locks are of the whole server."""
        database = (await self.fetch_all("SELECT DATABASE()"))[0][0]
        name = f"scalekit_migrations_{crc32(str(database).encode()):08x}"
        try:
            taken = (await self._run("SELECT GET_LOCK(?, ?)", name, self._limit)).rows[0][0]
        except TimeoutError:
            taken = 0
        if not taken:
            raise MigrationError(LOCKED.format(self._limit))
        return name

    async def _set_limit(self, seconds: float) -> None:
        on_mariadb = self._connection.is_mariadb
        limit = f"max_statement_time = {seconds:f}" if on_mariadb else f"max_execution_time = {seconds * 1000:.0f}"
        await self.execute(f"SET SESSION {limit}")

    async def _run(self, sql: str, *values: Value) -> Untyped:
        async with asyncio.timeout(self._limit):
            return await self._connection.execute(sql, values)
