"""SQLAlchemy's dialect for SQLite with aiosqlite, on the connections of the pool."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import partial
from typing import ClassVar

from sqlalchemy import Connection
from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteDialect_aiosqlite, SQLiteExecutionContext_aiosqlite
from sqlalchemy.exc import InvalidRequestError

from scalekit_pool.connections.driver import Arguments, RawConnection, Untyped, Value
from scalekit_pool.orm.cursor import DbapiCursor
from scalekit_pool.orm.dbapi import AUTOCOMMIT, DbapiConnection
from scalekit_pool.orm.dialect import PooledDialect
from scalekit_pool.orm.execution import PooledExecutionContext
from scalekit_pool.orm.server_cursor import ServerCursor

_DIALECT: Untyped = SQLiteDialect_aiosqlite


class SqliteCursor(DbapiCursor):
    """Runs statements in the thread of aiosqlite, each with one switch to that thread."""

    async def fetch(self, raw: RawConnection, sql: str, arguments: Arguments) -> Sequence[Value]:
        """Return the rows, and set description, rowcount and lastrowid."""
        rows, self.description, self.rowcount, self.lastrowid = await self._connection.driver.call(
            raw, _fetch, sql, arguments
        )
        return rows  # type: ignore[no-any-return] # the driver is untyped here

    async def fetch_many(self, raw: RawConnection, sql: str, arguments: Arguments) -> None:
        """Run *sql* once for each of *arguments*, and set rowcount."""
        self.rowcount = await self._connection.driver.call(raw, _execute_many, sql, arguments)


class SqliteServerCursor(ServerCursor, SqliteCursor):
    """Fetches rows in chunks on a connection of its own; inside a transaction all at once, as others wait for it."""

    reads_apart = True
    _open: sqlite3.Cursor | None = None
    _sql = ""

    async def fetch(self, raw: RawConnection, sql: str, arguments: Arguments) -> Sequence[Value]:
        """Return the first rows, and set description."""
        if self.held is None:
            return await SqliteCursor.fetch(self, raw, sql, arguments)
        self._sql = sql
        self._open = cursor = await self._connection.driver.call(raw, _open_cursor, sql, arguments)
        self.description = cursor.description
        return []

    def fetch_next(self, size: int) -> Sequence[Value]:
        """Return the next *size* rows of the open cursor."""
        if self.held is None or self._open is None:
            return []
        driver, work = self._connection.driver, partial(_fetch_some, cursor=self._open, size=size)
        rows: Sequence[Value] = self._connection.wait(
            self.held.command, lambda _, raw: driver.call(raw, work), self._sql
        )
        if len(rows) < size:
            self._open = None
            self.release(dirty=False)
        return rows

    def close(self) -> None:
        """Discard the rows, and release the connection."""
        self._open = None  # which ends its statement
        super().close()


def new_sqlite_cursor(connection: DbapiConnection, server_side: bool) -> DbapiCursor:
    """Return a new cursor; in memory one without chunks, which would hold the only connection."""
    in_memory = connection.driver.readers is connection.driver.writers
    return SqliteServerCursor(connection) if server_side and not in_memory else SqliteCursor(connection)


def raise_sqlite_error(error: Exception) -> None:
    """Do nothing: the errors of sqlite3 are those of its DBAPI."""


class SqliteExecutionContext(PooledExecutionContext, SQLiteExecutionContext_aiosqlite):
    """The execution of one statement."""


class PooledSqliteDialect(PooledDialect, _DIALECT):  # type: ignore[misc] # base from an untyped call
    """SQLite; a write begins by BEGIN IMMEDIATE."""

    driver = "scalekit"
    supports_statement_cache = True
    execution_ctx_cls = SqliteExecutionContext
    isolation_levels: ClassVar = {"SERIALIZABLE": None, "AUTOCOMMIT": AUTOCOMMIT}

    def do_begin_twophase(self, connection: Connection, xid: str) -> None:
        """Raise InvalidRequestError."""
        raise InvalidRequestError("SQLite has no two-phase commit: use a session without twophase")


def _fetch(raw: sqlite3.Connection, sql: str, arguments: Arguments) -> tuple[list[Value], Value, int, int | None]:
    cursor = raw.cursor()
    cursor.row_factory = None  # tuples are all that SQLAlchemy needs
    cursor.execute(sql, arguments)
    rows = cursor.fetchall() if cursor.description else []
    return rows, cursor.description, cursor.rowcount, cursor.lastrowid


def _open_cursor(raw: sqlite3.Connection, sql: str, arguments: Arguments) -> sqlite3.Cursor:
    cursor = raw.cursor()
    cursor.row_factory = None
    return cursor.execute(sql, arguments)


def _fetch_some(raw: sqlite3.Connection, cursor: sqlite3.Cursor, size: int) -> list[Value]:
    return cursor.fetchmany(size)


def _execute_many(raw: sqlite3.Connection, sql: str, arguments: Sequence[Arguments]) -> int:
    return raw.executemany(sql, arguments).rowcount
