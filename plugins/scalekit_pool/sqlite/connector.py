"""Open, reset and close connections to SQLite with aiosqlite."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote
from weakref import WeakKeyDictionary, WeakSet

import aiosqlite

from scalekit import split_url
from scalekit_pool.connections.driver import Value, quoted
from scalekit_pool.sqlite.dialect import create_functions
from scalekit_pool.sqlite.file_health import FileId, file_id_of

logger = logging.getLogger("scalekit.pool")
# aiosqlite logs each statement with its values at level debug; they may be secrets or personal data.
logging.getLogger("aiosqlite").addFilter(lambda record: record.levelno > logging.DEBUG)

MEMORY = ":memory:"
THREAD_EXIT_TIMEOUT = 1.0
"""Seconds that the thread of a connection whose opening failed has to exit."""
INTERRUPT_INTERVAL = 0.05
"""Seconds between two interrupts of an abandoned statement: one sent before its first step has no effect."""

# Session settings that can be set by a statement or the driver and read back.
_SETTINGS = """
analysis_limit automatic_index busy_timeout cache_size cache_spill cell_size_check checkpoint_fullfsync foreign_keys
full_column_names fullfsync ignore_check_constraints journal_size_limit legacy_alter_table locking_mode max_page_count
mmap_size query_only read_uncommitted recursive_triggers reverse_unordered_selects secure_delete short_column_names
synchronous temp_store threads trusted_schema wal_autocheckpoint writable_schema
"""
_TEMPORARY = "SELECT type, name FROM sqlite_temp_master WHERE type IN ('table', 'view', 'trigger')"


class SqliteRow(sqlite3.Row):
    """A sqlite3 row whose columns are attributes too."""

    def __getattr__(self, name: str) -> Value:
        try:
            return self[name]
        except IndexError:
            raise AttributeError(name) from None

    def __repr__(self) -> str:
        return f"<Row {dict(self)}>"

    @property
    def _mapping(self) -> Mapping[str, Value]:
        return dict(self)


def parse_file(address: str) -> str:
    """Return the file that *address* names, or ``:memory:``."""
    return unquote(split_url(address).path).removeprefix("/") or MEMORY


class SqliteConnector:
    """Opens connections to *uri*, which names *file*; *read_only* ones change nothing and create no file."""

    def __init__(self, uri: str, file: str, read_only: bool, busy_timeout: float) -> None:
        self.files: WeakKeyDictionary[aiosqlite.Connection, FileId | None] = WeakKeyDictionary()
        self._uri = uri
        self._file = file
        self._path = str(Path(file).absolute())
        self.expects_file = read_only
        # Connections in a transaction, unless SQLite rolled it back.
        self.in_transaction: WeakSet[aiosqlite.Connection] = WeakSet()
        self._read_only = read_only
        self._pragmas = [
            f"PRAGMA busy_timeout = {int(busy_timeout * 1000)}",
            "PRAGMA foreign_keys = ON",
            "PRAGMA synchronous = NORMAL",
            f"PRAGMA query_only = {'ON' if read_only else 'OFF'}",
        ]

    async def open(self) -> aiosqlite.Connection:
        """Return a new, configured connection."""
        opened: list[sqlite3.Connection] = []

        def connect(*arguments: Value, **keywords: Value) -> sqlite3.Connection:
            opened.append(sqlite3.Connection(*arguments, **keywords))
            return opened[-1]

        connection = aiosqlite.connect(
            self._address,
            factory=connect,
            uri=True,
            isolation_level=None,
            cached_statements=512,
            check_same_thread=False,
        )
        try:
            await connection
            self.files[connection] = file_id_of(self._path)
            connection.row_factory = SqliteRow
            if not self._read_only:
                await connection.execute_fetchall("PRAGMA journal_mode = WAL")
            await connection._execute(create_functions, connection._conn)  # type: ignore[no-untyped-call] # private
            await self._set_up(connection)
            self._settings = await connection._execute(_settings, connection._conn)  # type: ignore[no-untyped-call] # private
        except BaseException:
            connection.stop()
            await asyncio.to_thread(_join_thread, connection, opened)  # the thread needs this event loop to end
            raise
        self.expects_file = True
        return connection

    @property
    def _address(self) -> str:
        """The URI; a file that existed once is not created again, empty, after it was deleted."""
        if self._file == MEMORY or not self.expects_file or "mode=" in self._uri:
            return self._uri
        return f"{self._uri}{'&' if '?' in self._uri else '?'}mode=rw"

    def is_open(self, connection: aiosqlite.Connection) -> bool:
        """Return True: a connection to a file is never lost."""
        return True

    async def reset(self, connection: aiosqlite.Connection) -> None:
        """Interrupt the running statement and restore the session state; raise when that is not possible."""
        self.in_transaction.discard(connection)
        await _interrupt(connection)
        await connection._execute(_restore, connection._conn, self._settings)  # type: ignore[no-untyped-call] # private

    async def close(self, connection: aiosqlite.Connection) -> None:
        """Interrupt the running statement, and close *connection*, which rolls back."""
        if connection._connection is not None:
            await _interrupt(connection)
        await connection.close()

    async def stop(self) -> None:
        """Do nothing: there are no background tasks."""

    def explain(self, error: Exception) -> str:
        """Return why the file could not be opened."""
        if isinstance(error, sqlite3.OperationalError) and "unable to open" in str(error):
            return f"cannot open {self._file!r}: create its folder and make it writable for this user"
        return f"{self._file!r}: {error}"

    async def _set_up(self, connection: aiosqlite.Connection) -> None:
        for pragma in self._pragmas:
            await connection.execute_fetchall(pragma)


class MemoryConnector(SqliteConnector):
    """Opens the only connection to an in-memory database, which exists as long as the connection."""

    async def reset(self, connection: aiosqlite.Connection) -> None:
        """Restore the session state as far as possible; an error does not close the connection."""
        try:
            await super().reset(connection)
        except sqlite3.Error as error:
            logger.warning("cannot reset the session of the in-memory database: %s", error)


async def _interrupt(connection: aiosqlite.Connection) -> None:
    """Interrupt the statements of *connection* until its thread has ended them."""
    ended = asyncio.ensure_future(connection._execute(bool))  # type: ignore[no-untyped-call] # private
    try:
        while not ended.done():
            connection._conn.interrupt()
            await asyncio.wait([ended], timeout=INTERRUPT_INTERVAL)
    finally:
        ended.cancel()


def uri_of(file: str, options: str) -> str:
    """Return the SQLite URI of *file* with the *options* of its address."""
    return MEMORY if file == MEMORY else f"{Path(file).absolute().as_uri()}{'?' if options else ''}{options}"


def _settings(raw: sqlite3.Connection) -> dict[str, Value]:
    found = {name: raw.execute(f"PRAGMA {name}").fetchone() for name in _SETTINGS.split()}
    return {name: row[0] for name, row in found.items() if row is not None}


def _restore(raw: sqlite3.Connection, settings: Mapping[str, Value]) -> None:
    """Restore the session of *raw* to its initial *settings*."""
    if raw.in_transaction:
        raw.execute("ROLLBACK")
    raw.isolation_level = None  # setting it commits, so it follows the rollback
    raw.row_factory, raw.text_factory = SqliteRow, str
    for name, value in settings.items():
        raw.execute(f"PRAGMA {name} = {value}").fetchall()
    raw.execute("PRAGMA case_sensitive_like = OFF")  # cannot be read back
    for kind, name in raw.execute(_TEMPORARY).fetchall():
        raw.execute(f"DROP {kind} IF EXISTS temp.{quoted(name)}")
    for _, name, _ in raw.execute("PRAGMA database_list").fetchall():
        if name not in ("main", "temp"):
            raw.execute(f"DETACH {quoted(name)}")


def _join_thread(connection: aiosqlite.Connection, opened: list[sqlite3.Connection]) -> None:
    """Wait for the thread of *connection*, and close *opened*, which aiosqlite omits when cancelled."""
    connection._thread.join(THREAD_EXIT_TIMEOUT)
    if not connection._thread.is_alive():  # a thread that still runs a statement closes its connection itself
        for each in opened:
            each.close()
