"""SQLite through aiosqlite: opening and mending its connections."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from weakref import WeakKeyDictionary, WeakSet

import aiosqlite

from scalekit import split_url
from scalekit_pool.driver import quoted
from scalekit_pool.sqlite.file_health import FileId, id_of

logger = logging.getLogger("scalekit.pool")

MEMORY = ":memory:"
THREAD_LIMIT = 1.0
"""Seconds that the thread of a connection which could not be set up has to end."""
INTERRUPT_EVERY = 0.05
"""Seconds between two attempts to end what nobody waits for: one that comes before its first step has no effect."""

# What a statement or the driver's own connection can set for the session, and can be read back.
_SETTINGS = """
analysis_limit automatic_index busy_timeout cache_size cache_spill cell_size_check checkpoint_fullfsync foreign_keys
full_column_names fullfsync ignore_check_constraints journal_size_limit legacy_alter_table locking_mode max_page_count
mmap_size query_only read_uncommitted recursive_triggers reverse_unordered_selects secure_delete short_column_names
synchronous temp_store threads trusted_schema wal_autocheckpoint writable_schema
"""
_TEMPORARY = "SELECT type, name FROM sqlite_temp_master WHERE type IN ('table', 'view', 'trigger')"


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
    return unquote(split_url(address).path).removeprefix("/") or MEMORY


class SqliteConnector:
    """Opens connections to *uri*, the file *what*; those that are *read_only* change nothing, and make no file."""

    def __init__(self, uri: str, what: str, read_only: bool, busy_timeout: float) -> None:
        self.files: WeakKeyDictionary[aiosqlite.Connection, FileId | None] = WeakKeyDictionary()
        self._uri = uri
        self._what = what
        self._path = str(Path(what).absolute())
        self.expects_file = read_only
        self.begun: WeakSet[aiosqlite.Connection] = WeakSet()  # are in a transaction, unless SQLite rolled it back
        self._read_only = read_only
        self._pragmas = [
            f"PRAGMA busy_timeout = {int(busy_timeout * 1000)}",
            "PRAGMA foreign_keys = ON",
            "PRAGMA synchronous = NORMAL",
            f"PRAGMA query_only = {'ON' if read_only else 'OFF'}",
        ]

    async def open(self) -> aiosqlite.Connection:
        """Return a new connection, set up."""
        opened: list[sqlite3.Connection] = []

        def make(*arguments: Any, **options: Any) -> sqlite3.Connection:
            opened.append(sqlite3.Connection(*arguments, **options))
            return opened[-1]

        how: dict[str, Any] = {
            "uri": True,
            "isolation_level": None,
            "cached_statements": 512,
            "check_same_thread": False,
        }
        connection = aiosqlite.connect(self._address, factory=make, **how)
        try:
            await connection
            self.files[connection] = id_of(self._path)
            connection.row_factory = SqliteRow
            if not self._read_only:
                await connection.execute_fetchall("PRAGMA journal_mode = WAL")
            await self._set_up(connection)
            self._settings = await connection._execute(_settings, connection._conn)  # type: ignore[no-untyped-call]
        except BaseException:
            connection.stop()
            await asyncio.to_thread(_end, connection, opened)  # the thread reports to this event loop
            raise
        self.expects_file = True
        return connection

    @property
    def _address(self) -> str:
        """The URI; a file that was there once is not made anew, empty, where it has gone."""
        if self._what == MEMORY or not self.expects_file or "mode=" in self._uri:
            return self._uri
        return f"{self._uri}{'&' if '?' in self._uri else '?'}mode=rw"

    def works(self, connection: aiosqlite.Connection) -> bool:
        """Tell that a file does not go away."""
        return True

    async def mend(self, connection: aiosqlite.Connection) -> None:
        """End what still runs, and undo what was done to the session; raises where it cannot be undone."""
        self.begun.discard(connection)
        ended = asyncio.ensure_future(connection._execute(bool))  # type: ignore[no-untyped-call]
        try:
            while not ended.done():
                connection._conn.interrupt()
                await asyncio.wait([ended], timeout=INTERRUPT_EVERY)
        finally:
            ended.cancel()
        await connection._execute(_restore, connection._conn, self._settings)  # type: ignore[no-untyped-call]

    async def close(self, connection: aiosqlite.Connection) -> None:
        """Close *connection*."""
        await connection.close()

    async def stop(self) -> None:
        """Do nothing: nothing runs beside the connections."""

    def explain(self, error: Exception) -> str:
        """Return why the file could not be opened."""
        if isinstance(error, sqlite3.OperationalError) and "unable to open" in str(error):
            return f"cannot open {self._what!r}; its folder must be there, and writable for this user"
        return f"{self._what!r}: {error}"

    async def _set_up(self, connection: aiosqlite.Connection) -> None:
        for pragma in self._pragmas:
            await connection.execute_fetchall(pragma)


class MemoryConnector(SqliteConnector):
    """Opens the one connection to a database in memory, which is there as long as that is."""

    async def mend(self, connection: aiosqlite.Connection) -> None:
        """Undo what was done to the session as far as it goes, and keep the connection however it is."""
        try:
            await super().mend(connection)
        except sqlite3.Error as error:
            logger.warning("the session of the database in memory could not be reset: %s", error)


def uri_of(file: str, options: str) -> str:
    """Return the URI under which SQLite opens *file*, with *options* as they stand in an address."""
    return MEMORY if file == MEMORY else f"{Path(file).absolute().as_uri()}{'?' if options else ''}{options}"


def _settings(raw: sqlite3.Connection) -> dict[str, Any]:
    found = {name: raw.execute(f"PRAGMA {name}").fetchone() for name in _SETTINGS.split()}
    return {name: row[0] for name, row in found.items() if row is not None}


def _restore(raw: sqlite3.Connection, settings: Mapping[str, Any]) -> None:
    """Make the session of *raw* as new; *settings* are those that it had then."""
    if raw.in_transaction:
        raw.execute("ROLLBACK")
    raw.isolation_level = None  # which commits, so this comes second
    raw.row_factory, raw.text_factory = SqliteRow, str
    for name, value in settings.items():
        raw.execute(f"PRAGMA {name} = {value}").fetchall()
    raw.execute("PRAGMA case_sensitive_like = OFF")  # cannot be read
    for kind, name in raw.execute(_TEMPORARY).fetchall():
        raw.execute(f"DROP {kind} IF EXISTS temp.{quoted(name)}")
    for _, name, _ in raw.execute("PRAGMA database_list").fetchall():
        if name not in ("main", "temp"):
            raw.execute(f"DETACH {quoted(name)}")


def _end(connection: aiosqlite.Connection, opened: list[sqlite3.Connection]) -> None:
    """Wait for the thread of *connection*, and close what it has opened: aiosqlite forgets that when cancelled."""
    connection._thread.join(THREAD_LIMIT)
    if not connection._thread.is_alive():  # one that still runs a statement closes its connection afterwards
        for each in opened:
            each.close()
