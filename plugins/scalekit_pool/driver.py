"""What the database asks of a driver, so that it need not know which one it is."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from enum import Enum, auto
from typing import Any, NamedTuple, Protocol

from scalekit_pool.pool import Pool


class Failure(Enum):
    """What an error of the driver says about the connection."""

    STATEMENT = auto()
    """Only the statement was wrong: the connection is as before."""
    LOST = auto()
    """The connection is gone, and with it what was not committed."""
    DEMOTED = auto()
    """The server takes no writes any more: other connections to it are of no use either."""
    BUSY = auto()
    """Others held a lock for too long: it can be tried again."""
    READ_ONLY = auto()
    """The statement wrote, on a connection that only reads."""
    LATE = auto()
    """The statement took too long and was cancelled."""
    UNWRITABLE = auto()
    """There is no room for a write, or the disk fails; reads may go on."""
    OUTDATED = auto()
    """The connection remembered a type or a result that has been changed since; nothing was done."""
    MISREAD = auto()
    """It was done, but its rows have another form than the connection remembered."""
    UNKNOWN = auto()
    """The statement was cut: nobody knows what state the connection is in."""


REPEATED_READS = (Failure.LOST, Failure.MISREAD)
"""After these a read is run once more."""
DOUBTFUL = (Failure.DEMOTED, Failure.UNWRITABLE, Failure.BUSY)
"""After these it is not known whether the database takes writes."""


class Refusal(NamedTuple):
    """Why a connection takes no writes, and whether another connection to the same server may."""

    reason: str
    of_connection: bool


class RolledBack(Exception):
    """A transaction that was to go on or to be committed had failed before, so the database rolled it back."""


class Target(NamedTuple):
    """A table by name; without a schema it is looked for where the database looks."""

    schema: str | None
    name: str

    def __str__(self) -> str:
        """Return the name as it stands in SQL."""
        return f"{quoted(self.schema)}.{quoted(self.name)}" if self.schema else quoted(self.name)


class Insertion(NamedTuple):
    """What is inserted where: whether duplicates are left out, and which columns come back."""

    target: Target
    columns: Sequence[str]
    skip_duplicates: bool = False
    returning: Sequence[str] = ()

    @property
    def tail(self) -> str:
        """What stands after the values."""
        conflict = " ON CONFLICT DO NOTHING" if self.skip_duplicates else ""
        return f"{conflict} RETURNING {names(self.returning)}" if self.returning else conflict


class Driver(Protocol):
    """Statements on connections of one kind; a connection is the driver's own."""

    dialect: str
    placeholder: str
    read_only: bool
    doubt: Failure | None
    readers: Pool[Any]
    writers: Pool[Any]

    def fetch_all(self, connection: Any, sql: str, arguments: Sequence[Any]) -> Awaitable[Sequence[Any]]:
        """Return every row."""
        ...

    def fetch_one(self, connection: Any, sql: str, arguments: Sequence[Any]) -> Awaitable[Any]:
        """Return the first row, or None."""
        ...

    def execute(self, connection: Any, sql: str, arguments: Sequence[Any]) -> Awaitable[Any]:
        """Return the first column of the first row, if there is one; on SQLite else the id of the last row."""
        ...

    def execute_many(self, connection: Any, sql: str, arguments: Sequence[Sequence[Any]]) -> Awaitable[Any]:
        """Run *sql* once for each of *arguments*, in a transaction that is open."""
        ...

    def stream(self, connection: Any, sql: str, arguments: Sequence[Any]) -> AsyncGenerator[Sequence[Any], None]:
        """Yield rows as they come, some at a time."""
        ...

    def insert_many(self, connection: Any, rows: Sequence[Sequence[Any]], how: Insertion) -> Awaitable[Any]:
        """Insert *rows*, in a transaction that is open; return how many went in, or the rows that *how* wants back."""
        ...

    async def begin(self, connection: Any, options: Mapping[str, Any]) -> None:
        """Begin a transaction."""
        ...

    async def commit(self, connection: Any) -> None:
        """Commit it; raises when it was rolled back instead."""
        ...

    async def rollback(self, connection: Any) -> None:
        """Roll it back."""
        ...

    async def run(self, connection: Any, sql: str) -> None:
        """Run a statement of the pool's own, such as a savepoint."""
        ...

    def failure(self, error: BaseException, connection: Any) -> Failure:
        """Tell what *error* says about *connection*, which it came from."""
        ...

    def read_only_reason(self, connection: Any) -> str:
        """Return why *connection*, on which a write was refused, does not take any."""
        ...

    async def forget_schema(self, connection: Any) -> None:
        """Let *connection* forget all that it remembers of types and statements."""
        ...

    async def write_refusal(self, connection: Any, doubt: Failure | None) -> Refusal | None:
        """Return why *connection* takes no writes, or None; *doubt* is what has failed since it last did."""
        ...

    def is_refusal(self, error: Exception) -> bool:
        """Tell whether *error*, of opening a connection, does not pass by itself."""
        ...

    def let_write(self, connection: Any) -> None:
        """Let *connection*, which reads, write too, from the next statement on."""
        ...

    @property
    def report(self) -> str:
        """What is wrong with servers that are not used; empty when nothing is."""
        ...

    def stop_running(self, connection: Any) -> None:
        """Let what runs on *connection* end soon: nobody waits for it any more."""
        ...


def quoted(name: str) -> str:
    """Return *name* as an identifier."""
    return '"' + name.replace('"', '""') + '"'


def names(columns: Sequence[str]) -> str:
    """Return *columns* as a list of identifiers."""
    return ", ".join(quoted(column) for column in columns)
