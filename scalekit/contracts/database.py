"""A database, and reading from its replicas."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from scalekit.context import Key
from scalekit.contracts.consistency import Consistency

Values = Mapping[str, Any]
"""Parameters of a statement by name."""

Tables = frozenset[str] | None
"""Names of tables of a database, without schema and in lower case; None where they are not known."""


class Row(Protocol):
    """One row: ``row["name"]``, ``row.name``, ``row[0]`` and ``dict(row)``; iterating gives its values."""

    def __getitem__(self, key: Any) -> Any: ...
    def __getattr__(self, name: str) -> Any: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Any]: ...
    def keys(self) -> Iterable[str]:
        """Return the names of the columns."""
        ...


class Statements(Protocol):
    """The statements of a database or of one of its connections.

    A query is text with ``:name`` for each value, or a SQLAlchemy Core expression. Raises Unavailable, which is a 503,
    when no connection can be had in time, and the driver's own errors.
    """

    async def fetch_all(self, query: Any, values: Values | None = None) -> Sequence[Row]:
        """Return every row."""
        ...

    async def fetch_one(self, query: Any, values: Values | None = None) -> Row | None:
        """Return the first row, or None."""
        ...

    async def fetch_val(self, query: Any, values: Values | None = None, column: Any = 0) -> Any:
        """Return one column of the first row, or None."""
        ...

    async def execute(self, query: Any, values: Values | None = None) -> Any:
        """Run a statement; return the first column of what it returns, on SQLite else the last row's id."""
        ...

    async def execute_many(self, query: Any, values: Sequence[Values]) -> None:
        """Run a statement once for each of *values*, all or nothing."""
        ...

    def iterate(self, query: Any, values: Values | None = None) -> AsyncIterator[Row]:
        """Yield rows as they come; what is written meanwhile does not depend on how the loop ends."""
        ...

    def transaction(self, *, force_rollback: bool = False, **options: Any) -> AbstractAsyncContextManager[Any]:
        """Return a transaction, or a savepoint inside one, of the current task.

        *options* are PostgreSQL's: ``isolation``, ``readonly``, ``deferrable``.
        """
        ...

    async def insert_many(
        self, table: Any, rows: Sequence[Values], skip_duplicates: bool = False, returning: Sequence[str] | None = None
    ) -> Any:
        """Insert *rows* in the fastest way there is, all or nothing; return how many went in.

        With *returning* it is the rows that went in, with these columns. *table* is a SQLAlchemy table or a name. Every
        row has the same columns.
        """
        ...

    async def select(
        self,
        table: Any,
        *columns: str,
        where: Any = None,
        order_by: Any = None,
        limit: int | None = None,
        offset: int | None = None,
    ) -> list[dict[str, Any]]:
        """Return only *columns* of a SQLAlchemy table, those of related tables (``profile.name``) nested, in one query.

        Raises ValueError naming the nearest column when there is none of that name.
        """
        ...


class Session(Statements, Protocol):
    """One connection that a task keeps for a while."""

    @property
    def raw_connection(self) -> Any:
        """The driver's own connection."""
        ...


class Database(Statements, Protocol):
    """A database behind a pool of connections."""

    @property
    def dialect(self) -> str:
        """``postgresql`` or ``sqlite``."""
        ...

    @property
    def connections_opened(self) -> int:
        """How many connections have been opened: while it stays, every result comes from one run of the server."""
        ...

    @property
    def unreachable_reason(self) -> str:
        """Why it cannot be reached now, without secrets; empty while a connection is open or nothing is known."""
        ...

    def connection(self) -> AbstractAsyncContextManager[Session]:
        """Return the connection that the current task keeps while it is inside."""
        ...

    async def insert_soon(self, table: Any, row: Values) -> Any:
        """Insert *row* together with those of other tasks in one statement; return its primary key, where there is one.

        Each caller gets its own error. Inside a transaction it is an insert like any other.
        """
        ...


class Databases(Protocol):
    """Opens further databases in the way of the pool: same options, same metrics, another address."""

    def open(self, url: str, name: str, *, read_only: bool) -> AbstractAsyncContextManager[Database]:
        """Return the database at *url*, open while inside, under *name* in metrics and errors.

        One that is *read_only* raises ReadOnlyError for every statement that is not known to only read.
        """
        ...


class ConsistencyTokens(Protocol):
    """Turns what a client has written into a signed text that it, a message or a call carries along, and back."""

    async def issue(self, consistency: Consistency) -> str:
        """Return the token for *consistency*, empty where nothing was written; gives its writes a position."""
        ...

    def read(self, token: str) -> Consistency | None:
        """Return what *token* says; None where it is not ours, or so old that every replica has what it stands for."""
        ...


class TableObserver(Protocol):
    """Observes which tables are read and written; called by the providers of DATABASE, READS and DATABASES."""

    def read(self, tables: Tables) -> None:
        """Take note that *tables* are about to be read for what is served here and now."""
        ...

    async def wrote(self, tables: Tables) -> None:
        """Act on a change of *tables* that others see from now on; return when that is done, or cannot be now."""
        ...

    def may_have_written(self, tables: Tables) -> None:
        """Act in the background on a change of *tables* that others may see from now on, soon, or never."""
        ...


DATABASE: Key[Database] = Key("database", plugin="pool")
"""The database that is written to."""

READS: Key[Statements] = Key("reads", plugin="replica")
"""The database for reading: a replica that has what this client has written, else the one that is written to."""

DATABASES: Key[Databases] = Key("databases", plugin="pool")
"""Opens the replicas."""

TABLE_OBSERVER: Key[TableObserver] = Key("observer of tables", plugin="cache")
"""Provided only by a plugin that observes tables, before the database is provided."""

CONSISTENCY_TOKENS: Key[ConsistencyTokens] = Key("consistency tokens", plugin="replica")
"""Provided only where there are replicas: elsewhere nothing has to be carried along."""
