"""Statements on SQLite: one connection that writes, and some that read beside it."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import aiosqlite

from scalekit import split_url
from scalekit_pool.config import PoolConfig
from scalekit_pool.connection_lifecycle import Observer
from scalekit_pool.driver import Failure, Insertion, Refusal, RolledBack, names
from scalekit_pool.pool import Pool
from scalekit_pool.sqlite.connector import MEMORY, MemoryConnector, SqliteConnector, file_of, uri_of
from scalekit_pool.sqlite.file_health import FileHealth

READERS = 4
"""Connections that read, at most: under one interpreter lock more do not help."""
CHUNK = 100
"""Rows that a stream fetches at once."""

_PASSING = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
"""Errors of opening a file that may pass by themselves."""
_GONE = "unable to open database file"
_READ_ONLY_OPTION = re.compile(r"(?:^|&)(?:mode=ro|immutable=(?:1|true|on|yes))(?:&|$)")
_FAILURES = {
    sqlite3.SQLITE_BUSY: Failure.BUSY,
    sqlite3.SQLITE_LOCKED: Failure.BUSY,
    sqlite3.SQLITE_INTERRUPT: Failure.LATE,
    sqlite3.SQLITE_READONLY: Failure.READ_ONLY,
    sqlite3.SQLITE_FULL: Failure.UNWRITABLE,
    sqlite3.SQLITE_IOERR: Failure.UNWRITABLE,
}


class SqliteDriver:
    """Statements on one file, or on a database in memory, which has one connection for everything."""

    dialect = "sqlite"
    placeholder = "?"

    def __init__(
        self, address: str, config: PoolConfig, observer: Observer, readers_observer: Observer, read_only: bool
    ) -> None:
        self.read_only = read_only
        self.doubt: Failure | None = None
        file = file_of(address)
        uri = uri_of(file, split_url(address).query)
        kind = MemoryConnector if file == MEMORY else SqliteConnector
        writer = kind(uri, file, read_only, config.acquire_timeout)
        one = replace(config.limits, min_size=1, max_size=1, max_lifetime=inf)
        self.writers: Pool[aiosqlite.Connection] = Pool(file, writer, one, observer)
        self.readers = self.writers
        if file != MEMORY:
            reader = SqliteConnector(uri, file, True, config.acquire_timeout)
            reader.begun = writer.begun
            some = replace(config.limits, min_size=min(1, config.min_size), max_size=min(READERS, config.max_size))
            self.readers = Pool(file, reader, some, readers_observer)
        self._deadline = float(config.statement_timeout)
        self._begun = writer.begun
        is_writable = not (read_only or file == MEMORY or _READ_ONLY_OPTION.search(split_url(address).query))
        self._files = writer.files if is_writable else None
        self._health = FileHealth(str(Path(file).absolute()), config.acquire_timeout)

    def fetch_all(self, connection: aiosqlite.Connection, sql: str, arguments: Sequence[Any]) -> Awaitable[list[Any]]:
        """Return every row."""
        return self._do(connection, _fetch_all, sql, arguments)

    def fetch_one(self, connection: aiosqlite.Connection, sql: str, arguments: Sequence[Any]) -> Awaitable[Any]:
        """Return the first row, or None."""
        return self._do(connection, _fetch_one, sql, arguments)

    def execute(self, connection: aiosqlite.Connection, sql: str, arguments: Sequence[Any]) -> Awaitable[Any]:
        """Return the first column of the first row if there is one, else the id of the row inserted, or how many."""
        return self._do(connection, _execute, sql, arguments)

    def execute_many(
        self, connection: aiosqlite.Connection, sql: str, arguments: Sequence[Sequence[Any]]
    ) -> Awaitable[Any]:
        """Run *sql* once for each of *arguments*."""
        return self._do(connection, _execute_many, sql, arguments)

    async def stream(
        self, connection: aiosqlite.Connection, sql: str, arguments: Sequence[Any]
    ) -> AsyncGenerator[list[Any], None]:
        """Yield rows, some fetched at a time."""
        cursor = await self._do(connection, sqlite3.Connection.execute, sql, arguments)
        while rows := await self._do(connection, _fetch_some, cursor):
            yield rows

    def insert_many(
        self, connection: aiosqlite.Connection, rows: Sequence[Sequence[Any]], how: Insertion
    ) -> Awaitable[Any]:
        """Insert *rows*, prepared once."""
        return self._do(connection, _insert_returning if how.returning else _insert, rows, how)

    async def begin(self, connection: aiosqlite.Connection, options: Mapping[str, Any]) -> None:
        """Begin a transaction that may write at once, so that it cannot fail halfway for another that does."""
        await self.run(connection, "BEGIN" if options.get("readonly") else "BEGIN IMMEDIATE")
        self._begun.add(connection)

    async def commit(self, connection: aiosqlite.Connection) -> None:
        """Commit; raises RolledBack when SQLite has rolled it back, as it does when a change is interrupted."""
        try:
            await self.run(connection, "COMMIT")
        finally:
            self._begun.discard(connection)

    async def rollback(self, connection: aiosqlite.Connection) -> None:
        """Roll back, where SQLite has not done so by itself."""
        self._begun.discard(connection)
        if connection.in_transaction:
            await self.run(connection, "ROLLBACK")

    async def run(self, connection: aiosqlite.Connection, sql: str) -> None:
        """Run *sql*."""
        await self._do(connection, _fetch_all, sql, ())

    def failure(self, error: BaseException, connection: aiosqlite.Connection) -> Failure:
        """Tell what *error* says about *connection*, which it came from."""
        if not isinstance(error, sqlite3.OperationalError):
            return Failure.STATEMENT if isinstance(error, sqlite3.Error) else Failure.UNKNOWN
        if str(error) == _GONE:
            return Failure.UNWRITABLE
        failure = _FAILURES.get(_code(error), Failure.STATEMENT)
        if failure is Failure.READ_ONLY and self._files is not None and connection in self._files:
            return Failure.DEMOTED
        return failure

    def read_only_reason(self, connection: aiosqlite.Connection) -> str:
        """Return why *connection*, on which a write was refused, does not take any."""
        return "the file, or its folder, is read-only for this user"

    async def forget_schema(self, connection: aiosqlite.Connection) -> None:
        """Do nothing: SQLite notices by itself."""

    async def write_refusal(self, connection: aiosqlite.Connection, doubt: Failure | None) -> Refusal | None:
        """Return why *connection* takes no writes, or None."""
        if self._files is None:
            await self.run(connection, "SELECT 1")
            return None
        opened = self._files.get(connection)
        refusal: Refusal | None = await self._do(connection, self._health.refusal, opened, doubt is not None)
        return refusal

    def is_refusal(self, error: Exception) -> bool:
        """Tell that a file which cannot be opened does not come by itself, unless it is locked, or its disk full."""
        return not isinstance(error, sqlite3.Error) or _code(error) not in _PASSING

    def let_write(self, connection: aiosqlite.Connection) -> None:
        """Let *connection*, which reads, write too: this goes to its thread before what is asked of it next."""
        let = partial(connection._conn.execute, "PRAGMA query_only = OFF")
        connection._tx.put_nowait((asyncio.get_running_loop().create_future(), let))

    @property
    def report(self) -> str:
        """Nothing: there are no other servers."""
        return ""

    def stop_running(self, connection: aiosqlite.Connection) -> None:
        """Interrupt what runs."""
        connection._conn.interrupt()

    async def _do(self, connection: aiosqlite.Connection, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call *function* with the connection in its thread, and interrupt it when it takes too long.

        aiosqlite's own methods take a trip to the thread for each step of a statement; this takes one for all.
        """
        raw = connection._conn
        if connection in self._begun:
            function = partial(_inside, function)
        timer = asyncio.get_running_loop().call_later(self._deadline, raw.interrupt)
        try:
            return await connection._execute(function, raw, *arguments)  # type: ignore[no-untyped-call]
        finally:
            timer.cancel()


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _inside(function: Callable[..., Any], raw: sqlite3.Connection, *arguments: Any) -> Any:
    """Call *function* in the transaction that was begun: outside it, what it does would last at once."""
    if not raw.in_transaction:
        raise RolledBack("the transaction was rolled back, for a statement in it had failed")
    return function(raw, *arguments)


def _fetch_all(raw: sqlite3.Connection, sql: str, arguments: Sequence[Any]) -> list[Any]:
    return raw.execute(sql, arguments).fetchall()


def _fetch_one(raw: sqlite3.Connection, sql: str, arguments: Sequence[Any]) -> Any:
    cursor = raw.execute(sql, arguments)
    row = cursor.fetchone()
    if sql.lstrip()[:6].upper() != "SELECT":
        cursor.fetchall()  # a change that returns rows is done when the last has been read
    return row


def _fetch_some(raw: sqlite3.Connection, cursor: sqlite3.Cursor) -> list[Any]:
    return cursor.fetchmany(CHUNK)


def _execute(raw: sqlite3.Connection, sql: str, arguments: Sequence[Any]) -> Any:
    cursor = raw.execute(sql, arguments)
    if cursor.description:
        row = cursor.fetchone()
        cursor.fetchall()
        return row[0] if row else None
    return cursor.lastrowid if sql.lstrip()[:7].upper() in ("INSERT ", "REPLACE") else cursor.rowcount


def _execute_many(raw: sqlite3.Connection, sql: str, arguments: Sequence[Sequence[Any]]) -> None:
    raw.executemany(sql, arguments)


def _insert(raw: sqlite3.Connection, rows: Sequence[Sequence[Any]], how: Insertion) -> int:
    return raw.executemany(_insert_sql(how), rows).rowcount


def _insert_returning(raw: sqlite3.Connection, rows: Sequence[Sequence[Any]], how: Insertion) -> list[Any]:
    sql = _insert_sql(how)
    return [returned for row in rows for returned in raw.execute(sql, row).fetchall()]


def _insert_sql(how: Insertion) -> str:
    places = ", ".join("?" * len(how.columns))
    return f"INSERT INTO {how.target} ({names(how.columns)}) VALUES ({places}){how.tail}"
