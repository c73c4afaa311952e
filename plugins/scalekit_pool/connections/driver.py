"""The interface of database drivers, which `database` and `session` use without knowing the database."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, NamedTuple, Protocol, TypeAlias, TypedDict, TypeVar

from sqlalchemy.engine.interfaces import Dialect

from scalekit import Secret
from scalekit.contracts import Row
from scalekit_pool.connections.lifecycle import PoolLimits
from scalekit_pool.connections.pool import ConnectionPool

T = TypeVar("T")

RawConnection: TypeAlias = Any
"""The driver's own connection: asyncpg's or asyncmy's, which have no types, or aiosqlite's."""
Untyped: TypeAlias = Any
"""An object of a library whose methods have no types, such as SQLAlchemy's internal ones."""
Value: TypeAlias = Any
"""The value of a parameter or column, of any type that the driver accepts or returns."""
Arguments = Sequence[Value]
"""The values of a statement's placeholders."""
Operation = Callable[[RawConnection, str, Arguments], Awaitable[T]]
"""A method of the driver that runs SQL text with arguments on a connection."""
Inserted = int | Sequence[Row]
"""The number of inserted rows, or the rows that RETURNING yields."""


class TransactionOptions(TypedDict, total=False):
    """The options of BEGIN; *isolation* is a level such as ``repeatable_read``."""

    isolation: str
    readonly: bool
    deferrable: bool


@dataclass(frozen=True, slots=True)
class DriverOptions:
    """The options of a driver, as ``[plugins.pool]`` documents them; times in seconds."""

    limits: PoolLimits
    statement_timeout: float
    statement_cache_size: int
    password: Secret | None
    password_file: str | None
    sslmode: str
    sslrootcert: str | None


class Failure(Enum):
    """The effect of a driver error on the connection."""

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
WRITE_DOUBTS = (Failure.DEMOTED, Failure.UNWRITABLE)
"""Failures after which a server may take no writes: not LOCKED, since servers lock rows and tables."""
SCHEMA_CHANGES = (Failure.SCHEMA_CHANGED, Failure.RESULT_CHANGED)
"""Failures after which the connection must reload the schema."""
OUTAGES = (Failure.DISCONNECTED, Failure.DEMOTED, Failure.UNWRITABLE, Failure.LOCKED, Failure.TIMEOUT)
"""Failures that may pass without a change of the statement or the database."""


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

    @property
    def shown(self) -> str:
        """The name as messages and logs show it, which is no SQL."""
        return f"{self.schema}.{self.name}" if self.schema else self.name


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

    *expression_dialect* is SQLAlchemy's dialect. *write_doubts* are the failures after which the database may take no
    writes, and *write_doubt* is the one since which it is not known to take writes, or None.
    """

    dialect: str
    read_only: bool
    write_doubts: Sequence[Failure]
    write_doubt: Failure | None
    expression_dialect: Dialect
    readers: ConnectionPool[RawConnection]
    writers: ConnectionPool[RawConnection]

    def fetch_all(self, connection: RawConnection, sql: str, arguments: Arguments) -> Awaitable[Sequence[Row]]:
        """Return all rows."""
        ...

    def fetch_one(self, connection: RawConnection, sql: str, arguments: Arguments) -> Awaitable[Row | None]:
        """Return the first row, or None."""
        ...

    def execute(self, connection: RawConnection, sql: str, arguments: Arguments) -> Awaitable[Value]:
        """Return the first column of the first row, or on SQLite and MySQL the last row id if there is no row."""
        ...

    def execute_many(self, connection: RawConnection, sql: str, arguments: Sequence[Arguments]) -> Awaitable[None]:
        """Run *sql* once for each of *arguments*, inside an open transaction."""
        ...

    def stream(self, connection: RawConnection, sql: str, arguments: Arguments) -> AsyncGenerator[Sequence[Row], None]:
        """Yield rows in chunks as they arrive."""
        ...

    def insert_many(
        self, connection: RawConnection, rows: Sequence[Arguments], plan: BulkInsert
    ) -> Awaitable[Inserted]:
        """Insert *rows* inside an open transaction; return their number, or the rows that *plan* returns."""
        ...

    async def listen(self, channel: str, on_payload: Callable[[str], None]) -> None:
        """Call *on_payload* with each payload that the server notifies on *channel*, until cancelled."""
        ...

    async def begin(self, connection: RawConnection, options: TransactionOptions) -> None:
        """Begin a transaction."""
        ...

    async def commit(self, connection: RawConnection) -> None:
        """Commit; raise RolledBack when the database rolled back instead."""
        ...

    async def rollback(self, connection: RawConnection) -> None:
        """Roll back."""
        ...

    async def run(self, connection: RawConnection, sql: str) -> None:
        """Run a command of the pool itself, such as SAVEPOINT."""
        ...

    def classify_error(self, error: BaseException, connection: RawConnection) -> Failure:
        """Return the failure that *error*, raised by *connection*, means."""
        ...

    def read_only_reason(self, connection: RawConnection) -> str:
        """Return why *connection*, which refused a write, takes none."""
        ...

    async def schema_changed(self, connection: RawConnection) -> None:
        """Let all connections forget what they have cached, since a statement on *connection* changed the schema."""
        ...

    async def reload_schema(self, connection: RawConnection) -> None:
        """Clear the types and statements that *connection* has cached."""
        ...

    async def write_refusal(self, connection: RawConnection, write_doubt: Failure | None) -> WriteRefusal | None:
        """Return why *connection* takes no writes, or None; *write_doubt* is the failure that cast doubt on it."""
        ...

    def is_permanent_error(self, error: Exception) -> bool:
        """Return whether *error*, raised when opening a connection, persists when retried."""
        ...

    def enable_writes(self, connection: RawConnection) -> None:
        """Let *connection*, which is read-only, write from the next statement on."""
        ...

    @property
    def server_problems(self) -> str:
        """The problems of servers that are not in use; empty when there are none."""
        ...

    def interrupt(self, connection: RawConnection) -> None:
        """Cancel the statement that runs on *connection*, for which no task waits any more."""
        ...


def quoted(name: str) -> str:
    """Return *name* quoted as an identifier."""
    return '"' + name.replace('"', '""') + '"'


def names(columns: Sequence[str]) -> str:
    """Return *columns* as a comma-separated list of quoted identifiers."""
    return ", ".join(quoted(column) for column in columns)
