"""Run statements on SQLite: one writer connection, and several readers beside it."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from math import inf
from pathlib import Path
from typing import TypeVar

import aiosqlite
from sqlalchemy.engine.interfaces import Dialect

from scalekit import split_url
from scalekit.contracts import Row
from scalekit_pool.connections.driver import (
    WRITE_DOUBTS,
    Arguments,
    BulkInsert,
    DriverOptions,
    Failure,
    Inserted,
    RolledBack,
    TransactionOptions,
    Value,
    WriteRefusal,
    names,
)
from scalekit_pool.connections.lifecycle import PoolObserver
from scalekit_pool.connections.pool import ConnectionPool
from scalekit_pool.sqlite.connector import MEMORY, MemoryConnector, SqliteConnector, parse_file, uri_of
from scalekit_pool.sqlite.dialect import sqlite_dialect
from scalekit_pool.sqlite.file_health import FileHealth

T = TypeVar("T")

MAX_READERS = 4
"""Maximum reader connections: under one interpreter lock more do not help."""
CHUNK = 100
"""Rows that a stream fetches at once."""

_TRANSIENT = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
"""Errors of opening a file that may pass when retried."""
_UNOPENABLE = "unable to open database file"
_READ_ONLY_OPTION = re.compile(r"(?:^|&)(?:mode=ro|immutable=(?:1|true|on|yes))(?:&|$)")
_STATEMENTS = (sqlite3.Error, OverflowError, UnicodeError)
"""Errors of a statement and its values."""
_FAILURES = {
    sqlite3.SQLITE_BUSY: Failure.LOCKED,
    sqlite3.SQLITE_LOCKED: Failure.LOCKED,
    sqlite3.SQLITE_INTERRUPT: Failure.TIMEOUT,
    sqlite3.SQLITE_READONLY: Failure.READ_ONLY,
    sqlite3.SQLITE_FULL: Failure.UNWRITABLE,
    sqlite3.SQLITE_IOERR: Failure.UNWRITABLE,
}


class SqliteDriver:
    """Runs statements on one file, or on an in-memory database, which has a single connection."""

    dialect = "sqlite"
    write_doubts: Sequence[Failure] = (*WRITE_DOUBTS, Failure.LOCKED)
    """A lock is that of the whole database, which another process may hold for long."""

    def __init__(
        self,
        address: str,
        options: DriverOptions,
        observer: PoolObserver,
        readers_observer: PoolObserver,
        read_only: bool,
    ) -> None:
        limits = options.limits
        self.read_only = read_only
        self.write_doubt: Failure | None = None
        self.expression_dialect: Dialect = sqlite_dialect()
        file = parse_file(address)
        uri = uri_of(file, split_url(address).query)
        connector = MemoryConnector if file == MEMORY else SqliteConnector
        writer = connector(uri, file, read_only, limits.acquire_timeout)
        writer_limits = replace(limits, min_size=1, max_size=1, max_lifetime=inf)
        self.writers: ConnectionPool[aiosqlite.Connection] = ConnectionPool(file, writer, writer_limits, observer)
        self.readers = self.writers
        if file != MEMORY:
            reader = SqliteConnector(uri, file, True, limits.acquire_timeout)
            reader.in_transaction = writer.in_transaction
            reader_limits = replace(
                limits, min_size=min(1, limits.min_size), max_size=min(MAX_READERS, limits.max_size)
            )
            self.readers = ConnectionPool(file, reader, reader_limits, readers_observer)
        self._timeout = options.statement_timeout
        self._in_transaction = writer.in_transaction
        is_writable = not (read_only or file == MEMORY or _READ_ONLY_OPTION.search(split_url(address).query))
        self._files = writer.files if is_writable else None
        self._health = FileHealth(str(Path(file).absolute()), limits.acquire_timeout)

    def fetch_all(self, connection: aiosqlite.Connection, sql: str, arguments: Arguments) -> Awaitable[list[Row]]:
        """Return all rows."""
        return self.call(connection, _fetch_all, sql, arguments)

    def fetch_one(self, connection: aiosqlite.Connection, sql: str, arguments: Arguments) -> Awaitable[Row | None]:
        """Return the first row, or None."""
        return self.call(connection, _fetch_one, sql, arguments)

    def execute(self, connection: aiosqlite.Connection, sql: str, arguments: Arguments) -> Awaitable[Value]:
        """Return the first column of the first row, else an insert's last row id, else the number of changed rows."""
        return self.call(connection, _execute, sql, arguments)

    def execute_many(
        self, connection: aiosqlite.Connection, sql: str, arguments: Sequence[Arguments]
    ) -> Awaitable[None]:
        """Run *sql* once for each of *arguments*."""
        return self.call(connection, _execute_many, sql, arguments)

    async def stream(
        self, connection: aiosqlite.Connection, sql: str, arguments: Arguments
    ) -> AsyncGenerator[list[Row], None]:
        """Yield rows in chunks."""
        cursor = await self.call(connection, sqlite3.Connection.execute, sql, arguments)
        while rows := await self.call(connection, _fetch_some, cursor):
            yield rows

    def insert_many(
        self, connection: aiosqlite.Connection, rows: Sequence[Arguments], plan: BulkInsert
    ) -> Awaitable[Inserted]:
        """Insert *rows* with one prepared statement."""
        return self.call(connection, _insert_returning if plan.returning else _insert, rows, plan)

    async def listen(self, channel: str, on_payload: Callable[[str], None]) -> None:
        """Raise NotImplementedError: SQLite sends no notifications."""
        raise NotImplementedError("SQLite sends no notifications; poll its tables")

    async def begin(self, connection: aiosqlite.Connection, options: TransactionOptions) -> None:
        """Begin a transaction; one that may write takes the lock at once, so that it cannot fail halfway."""
        await self.run(connection, "BEGIN" if options.get("readonly") else "BEGIN IMMEDIATE")
        self._in_transaction.add(connection)

    async def commit(self, connection: aiosqlite.Connection) -> None:
        """Commit; raise RolledBack when SQLite has rolled back, as it does when a write is interrupted."""
        try:
            await self.run(connection, "COMMIT")
        finally:
            self._in_transaction.discard(connection)

    async def rollback(self, connection: aiosqlite.Connection) -> None:
        """Roll back, unless SQLite has done so already."""
        self._in_transaction.discard(connection)
        if connection.in_transaction:
            await self.run(connection, "ROLLBACK")

    async def run(self, connection: aiosqlite.Connection, sql: str) -> None:
        """Run *sql*."""
        await self.call(connection, _fetch_all, sql, ())

    def classify_error(self, error: BaseException, connection: aiosqlite.Connection) -> Failure:
        """Return the failure that *error*, raised by *connection*, means."""
        if connection is not None and connection._connection is None:
            return Failure.DISCONNECTED  # closed at the stop
        if not isinstance(error, sqlite3.OperationalError):
            return Failure.STATEMENT if isinstance(error, _STATEMENTS) else Failure.UNKNOWN
        if str(error) == _UNOPENABLE:
            return Failure.UNWRITABLE
        failure = _FAILURES.get(_code(error), Failure.STATEMENT)
        if failure is Failure.READ_ONLY and self._files is not None and connection in self._files:
            return Failure.DEMOTED
        return failure

    def read_only_reason(self, connection: aiosqlite.Connection) -> str:
        """Return why *connection*, which refused a write, takes none."""
        return "the file or its folder is read-only for this user"

    async def schema_changed(self, connection: aiosqlite.Connection) -> None:
        """Do nothing: SQLite detects schema changes itself."""

    async def reload_schema(self, connection: aiosqlite.Connection) -> None:
        """Do nothing: SQLite detects schema changes itself."""

    async def write_refusal(self, connection: aiosqlite.Connection, write_doubt: Failure | None) -> WriteRefusal | None:
        """Return why *connection* takes no writes, or None."""
        if self._files is None:
            await self.run(connection, "SELECT 1")
            return None
        opened = self._files.get(connection)
        return await self.call(connection, self._health.refusal, opened, write_doubt is not None)

    def is_permanent_error(self, error: Exception) -> bool:
        """Return whether opening fails for good: a missing file does, a lock or a full disk does not."""
        return not isinstance(error, sqlite3.Error) or _code(error) not in _TRANSIENT

    def enable_writes(self, connection: aiosqlite.Connection) -> None:
        """Let the read-only *connection* write; its thread runs this before the statements that follow."""
        command = partial(connection._conn.execute, "PRAGMA query_only = OFF")
        connection._tx.put_nowait((asyncio.get_running_loop().create_future(), command))

    @property
    def server_problems(self) -> str:
        """Empty: there are no other servers."""
        return ""

    def interrupt(self, connection: aiosqlite.Connection) -> None:
        """Interrupt the running statement."""
        connection._conn.interrupt()

    async def call(self, connection: aiosqlite.Connection, function: Callable[..., T], *arguments: object) -> T:
        """Call *function* with the connection in its thread, and interrupt it after statement_timeout.

        aiosqlite's own methods switch to the thread for each step of a statement; this switches once.
        """
        raw = connection._conn
        if connection in self._in_transaction:
            function = partial(_run_in_transaction, function)
        timer = asyncio.get_running_loop().call_later(self._timeout, raw.interrupt)
        try:
            result: T = await connection._execute(function, raw, *arguments)  # type: ignore[no-untyped-call] # private
            return result
        finally:
            timer.cancel()


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _run_in_transaction(function: Callable[..., T], raw: sqlite3.Connection, *arguments: object) -> T:
    """Call *function* inside the open transaction; outside it, each statement would be committed at once."""
    if not raw.in_transaction:
        raise RolledBack("the transaction was rolled back, because a statement in it failed")
    return function(raw, *arguments)


def _fetch_all(raw: sqlite3.Connection, sql: str, arguments: Arguments) -> list[Row]:
    return raw.execute(sql, arguments).fetchall()


def _fetch_one(raw: sqlite3.Connection, sql: str, arguments: Arguments) -> Row | None:
    cursor = raw.execute(sql, arguments)
    row: Row | None = cursor.fetchone()
    if sql.lstrip()[:6].upper() != "SELECT":
        cursor.fetchall()  # RETURNING is complete only when the last row is read
    return row


def _fetch_some(raw: sqlite3.Connection, cursor: sqlite3.Cursor) -> list[Row]:
    return cursor.fetchmany(CHUNK)


def _execute(raw: sqlite3.Connection, sql: str, arguments: Arguments) -> Value:
    cursor = raw.execute(sql, arguments)
    if cursor.description:
        row = cursor.fetchone()
        cursor.fetchall()
        return row[0] if row else None
    return cursor.lastrowid if sql.lstrip()[:7].upper() in ("INSERT ", "REPLACE") else cursor.rowcount


def _execute_many(raw: sqlite3.Connection, sql: str, arguments: Sequence[Arguments]) -> None:
    raw.executemany(sql, arguments)


def _insert(raw: sqlite3.Connection, rows: Sequence[Arguments], plan: BulkInsert) -> int:
    return raw.executemany(_insert_sql(plan), rows).rowcount


def _insert_returning(raw: sqlite3.Connection, rows: Sequence[Arguments], plan: BulkInsert) -> list[Row]:
    sql = _insert_sql(plan)
    return [returned for row in rows for returned in raw.execute(sql, row).fetchall()]


def _insert_sql(plan: BulkInsert) -> str:
    places = ", ".join("?" * len(plan.columns))
    return f"INSERT INTO {plan.table} ({names(plan.columns)}) VALUES ({places}){plan.tail}"
