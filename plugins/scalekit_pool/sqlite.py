"""SQLite through aiosqlite: opening and mending its connections."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import aiosqlite

MEMORY = ":memory:"


class SqliteRow(sqlite3.Row):
    """A row as sqlite3 makes it, with its columns as attributes too."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except IndexError:
            raise AttributeError(name) from None

    def __repr__(self) -> str:
        return f"<Row {dict(self)}>"

    @property
    def _mapping(self) -> Mapping[str, Any]:
        return dict(self)


def file_of(address: str) -> str:
    """Return the file that *address* names, or ``:memory:``."""
    return unquote(urlsplit(address).path).removeprefix("/") or MEMORY


class SqliteConnector:
    """Opens connections to *uri*, which is called *what* in errors; those that are *read_only* change nothing."""

    def __init__(self, uri: str, what: str, read_only: bool, busy_timeout: float) -> None:
        self._uri = uri
        self._what = what
        self._read_only = read_only
        self._pragmas = [
            f"PRAGMA busy_timeout = {int(busy_timeout * 1000)}",
            "PRAGMA foreign_keys = ON",
            "PRAGMA synchronous = NORMAL",
            f"PRAGMA query_only = {'ON' if read_only else 'OFF'}",
        ]

    async def open(self) -> aiosqlite.Connection:
        """Return a new connection, set up."""
        connection = await aiosqlite.connect(self._uri, uri=True, isolation_level=None, cached_statements=512)
        try:
            connection.row_factory = SqliteRow
            if not self._read_only:
                await connection.execute_fetchall("PRAGMA journal_mode = WAL")
            await self._set_up(connection)
        except BaseException:
            connection.stop()
            raise
        return connection

    def works(self, connection: aiosqlite.Connection) -> bool:
        """Tell that a file does not go away."""
        return True

    async def mend(self, connection: aiosqlite.Connection) -> None:
        """Undo what was done to the session; raises where it left something that cannot be undone."""
        await connection.execute_fetchall("SELECT 1")  # what still runs comes first
        if connection.in_transaction:
            await connection.execute_fetchall("ROLLBACK")
        await self._set_up(connection)
        await self._refuse_leftovers(connection)

    async def close(self, connection: aiosqlite.Connection) -> None:
        """Close *connection*."""
        await connection.close()

    def explain(self, error: Exception) -> str:
        """Return why the file could not be opened."""
        if isinstance(error, sqlite3.OperationalError) and "unable to open" in str(error):
            return f"cannot open {self._what!r}; its folder must be there, and writable for this user"
        return f"{self._what!r}: {error}"

    async def _set_up(self, connection: aiosqlite.Connection) -> None:
        for pragma in self._pragmas:
            await connection.execute_fetchall(pragma)

    async def _refuse_leftovers(self, connection: aiosqlite.Connection) -> None:
        temporary = await connection.execute_fetchall("SELECT count(*) FROM sqlite_temp_master")
        attached = await connection.execute_fetchall("PRAGMA database_list")
        if next(iter(temporary))[0] or any(row["name"] not in ("main", "temp") for row in attached):
            raise ValueError("temporary tables or attached databases are left")


class MemoryConnector(SqliteConnector):
    """Opens the one connection to a database in memory, which is there as long as that is."""

    async def _refuse_leftovers(self, connection: aiosqlite.Connection) -> None:
        """Keep the connection however it is."""


def uri_of(file: str, options: str) -> str:
    """Return the URI under which SQLite opens *file*, with *options* as they stand in an address."""
    return MEMORY if file == MEMORY else f"{Path(file).absolute().as_uri()}{'?' if options else ''}{options}"
