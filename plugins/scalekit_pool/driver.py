"""The interface of database drivers, so that `database` and `session` need not know which one they use."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from enum import Enum, auto
from typing import Any, NamedTuple, Protocol

from scalekit_pool.pool import ConnectionPool


class Failure(Enum):
    """What a driver error means for the connection."""

    STATEMENT = auto()
    """Only the statement failed; the connection is unchanged."""
    DISCONNECTED = auto()
    """The connection is lost, and uncommitted changes with it."""
    DEMOTED = auto()
    """The server takes no writes any more; other connections to it are useless too."""
    LOCKED = auto()
    """Waiting for a lock timed out; the statement can be retried."""
    READ_ONLY = auto()
    """The statement writes, on a read-only connection."""
    TIMEOUT = auto()
    """The statement exceeded its timeout and was cancelled."""
    UNWRITABLE = auto()
    """The disk is full or failing; reads may still work."""
    SCHEMA_CHANGED = auto()
    """The connection had cached a type or plan that has changed since; the statement was not executed."""
    RESULT_CHANGED = auto()
    """The statement was executed, but its rows have other types than the connection had cached."""
    UNKNOWN = auto()
    """The statement was interrupted; the state of the connection is unknown."""


RETRYABLE_READ_FAILURES = (Failure.DISCONNECTED, Failure.RESULT_CHANGED)
"""Failures after which a read is retried once."""
WRITE_DOUBTS = (Failure.DEMOTED, Failure.UNWRITABLE, Failure.LOCKED)
"""Failures after which the database may take no writes."""


class WriteRefusal(NamedTuple):
    """Why a connection takes no writes, and whether another connection to the server may take them."""

    reason: str
    another_may_write: bool


class RolledBack(Exception):
    """The transaction was rolled back by the database, because a statement in it had failed."""


class TableName(NamedTuple):
    """A table name; without a schema the database searches its search path."""

    schema: str | None
    name: str

    def __str__(self) -> str:
        """Return the name quoted for SQL."""
        return f"{quoted(self.schema)}.{quoted(self.name)}" if self.schema else quoted(self.name)


class BulkInsert(NamedTuple):
    """The table and columns of an insert, whether to skip duplicates, and which columns to return."""

    table: TableName
    columns: Sequence[str]
    skip_duplicates: bool = False
    returning: Sequence[str] = ()

    @property
    def tail(self) -> str:
        """The clauses that follow the values."""
        conflict = " ON CONFLICT DO NOTHING" if self.skip_duplicates else ""
        return f"{conflict} RETURNING {names(self.returning)}" if self.returning else conflict


class Driver(Protocol):
    """Runs statements on connections of one kind; a connection is the driver's own object.

    *write_doubt* is the failure since which the database is not known to take writes, or None.
    """

    dialect: str
    placeholder: str
    read_only: bool
    write_doubt: Failure | None
    readers: ConnectionPool[Any]
    writers: ConnectionPool[Any]

    def fetch_all(self, connection: Any, sql: str, arguments: Sequence[Any]) -> Awaitable[Sequence[Any]]:
        """Return all rows."""
        ...

    def fetch_one(self, connection: Any, sql: str, arguments: Sequence[Any]) -> Awaitable[Any]:
        """Return the first row, or None."""
        ...

    def execute(self, connection: Any, sql: str, arguments: Sequence[Any]) -> Awaitable[Any]:
        """Return the first column of the first row, or on SQLite the last row id if there is no row."""
        ...

    def execute_many(self, connection: Any, sql: str, arguments: Sequence[Sequence[Any]]) -> Awaitable[Any]:
        """Run *sql* once for each of *arguments*, inside an open transaction."""
        ...

    def stream(self, connection: Any, sql: str, arguments: Sequence[Any]) -> AsyncGenerator[Sequence[Any], None]:
        """Yield rows in chunks as they arrive."""
        ...

    def insert_many(self, connection: Any, rows: Sequence[Sequence[Any]], plan: BulkInsert) -> Awaitable[Any]:
        """Insert *rows* inside an open transaction; return their number, or the rows that *plan* returns."""
        ...

    async def begin(self, connection: Any, options: Mapping[str, Any]) -> None:
        """Begin a transaction."""
        ...

    async def commit(self, connection: Any) -> None:
        """Commit; raise RolledBack when the database rolled back instead."""
        ...

    async def rollback(self, connection: Any) -> None:
        """Roll back."""
        ...

    async def run(self, connection: Any, sql: str) -> None:
        """Run a command of the pool itself, such as SAVEPOINT."""
        ...

    def classify_error(self, error: BaseException, connection: Any) -> Failure:
        """Return what *error* means for *connection*, which raised it."""
        ...

    def read_only_reason(self, connection: Any) -> str:
        """Return why *connection*, which refused a write, takes none."""
        ...

    async def reload_schema(self, connection: Any) -> None:
        """Clear the types and statements that *connection* has cached."""
        ...

    async def write_refusal(self, connection: Any, write_doubt: Failure | None) -> WriteRefusal | None:
        """Return why *connection* takes no writes, or None; *doubt* is the failure since which that is not known."""
        ...

    def is_permanent_error(self, error: Exception) -> bool:
        """Return whether *error*, raised when opening a connection, persists when retried."""
        ...

    def enable_writes(self, connection: Any) -> None:
        """Let *connection*, which is read-only, write from the next statement on."""
        ...

    @property
    def server_problems(self) -> str:
        """What is wrong with servers that are not in use; empty when nothing is."""
        ...

    def interrupt(self, connection: Any) -> None:
        """Cancel the statement that runs on *connection*: no task waits for it any more."""
        ...


def quoted(name: str) -> str:
    """Return *name* quoted as an identifier."""
    return '"' + name.replace('"', '""') + '"'


def names(columns: Sequence[str]) -> str:
    """Return *columns* as a comma-separated list of quoted identifiers."""
    return ", ".join(quoted(column) for column in columns)
