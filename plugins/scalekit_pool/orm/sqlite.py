"""SQLAlchemy's dialect for SQLite with aiosqlite, on the connections of the pool."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import ClassVar

from sqlalchemy import Connection
from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteDialect_aiosqlite, SQLiteExecutionContext_aiosqlite
from sqlalchemy.exc import InvalidRequestError

from scalekit_pool.connections.driver import Arguments, RawConnection, Untyped, Value
from scalekit_pool.orm.dbapi import AUTOCOMMIT, DbapiConnection, DbapiCursor
from scalekit_pool.orm.dialect import PooledDialect
from scalekit_pool.orm.execution import PooledExecutionContext

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


def new_sqlite_cursor(connection: DbapiConnection, server_side: bool) -> DbapiCursor:
    """Return a new cursor, which fetches all rows at once: an open one would hold the only writer connection."""
    return SqliteCursor(connection)


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


def _execute_many(raw: sqlite3.Connection, sql: str, arguments: Sequence[Arguments]) -> int:
    return raw.executemany(sql, arguments).rowcount
