"""Contracts of the database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from scalekit.context import Key, RequestKey

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

T = TypeVar("T")

Values = Mapping[str, Any]
"""Parameters of a statement by name."""

Tables = frozenset[str] | None
"""Lower-case names of tables without schema, or None when they are unknown."""


class Row(Protocol):
    """One row: ``row["name"]``, ``row.name``, ``row[0]`` and ``dict(row)``; iteration yields its values."""

    def __getitem__(self, key: Any) -> Any: ...
    def __getattr__(self, name: str) -> Any: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Any]: ...
    def keys(self) -> Iterable[str]:
        """Return the names of the columns."""
        ...


class Statements(Protocol):
    """The statements of a database or of one of its connections.

    A query is text with a ``:name`` for each value, or a SQLAlchemy Core expression. Methods raise Unavailable (503)
    when no connection is available within the timeout, and the driver's errors.
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
        """Run a statement; return the first column of its first row; on SQLite, without rows, the last row's id."""
        ...

    async def execute_many(self, query: Any, values: Sequence[Values]) -> None:
        """Run a statement once for each of *values*, in one transaction."""
        ...

    def iterate(self, query: Any, values: Values | None = None) -> AsyncIterator[Row]:
        """Stream rows; writes inside the loop do not depend on how the loop ends."""
        ...

    def transaction(self, *, force_rollback: bool = False, **options: Any) -> AbstractAsyncContextManager[Any]:
        """Return a transaction of the current task, or a savepoint inside a transaction.

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
    """One connection, held by the current task."""

    @property
    def raw_connection(self) -> Any:
        """The driver's own connection."""
        ...


class OuterTransaction(Protocol):
    """A transaction that every use of its database in the current context joins, those of started tasks included.

    Transactions and sessions of the ORM inside of it are savepoints. Leaving its block rolls back, unless committed.
    """

    async def __aenter__(self) -> OuterTransaction: ...
    async def __aexit__(self, kind: Any, error: Any, traceback: Any) -> None: ...

    @property
    def has_open_work(self) -> bool:
        """Whether a transaction or a session of the ORM inside of it is still open."""
        ...

    async def fetch_one(self, query: Any, values: Values | None = None) -> Row | None:
        """Run a statement of the transaction itself, which fails when the statement does; return the first row."""
        ...

    async def commit(self) -> None:
        """Commit, after `roll_back_open_work`."""
        ...

    async def rollback(self) -> None:
        """Roll back."""
        ...

    async def roll_back_open_work(self) -> None:
        """Roll back the transactions inside of it that are still open."""
        ...


class Database(Statements, Protocol):
    """A database behind a pool of connections."""

    @property
    def dialect(self) -> str:
        """``postgresql`` or ``sqlite``."""
        ...

    @property
    def connections_opened(self) -> int:
        """The number of connections opened so far; a server restart increases it."""
        ...

    @property
    def unreachable_reason(self) -> str:
        """Why the server is unreachable, without secrets; empty while a connection is open or the reason is unknown."""
        ...

    @property
    def in_transaction(self) -> bool:
        """Whether the current task has an open transaction, or the current context an outer one."""
        ...

    def connection(self) -> AbstractAsyncContextManager[Session]:
        """Return a connection that the current task holds inside the block."""
        ...

    async def listen(self, channel: str, on_payload: Callable[[str], None]) -> None:
        """Call *on_payload* with the payload of each NOTIFY on *channel* of PostgreSQL, until cancelled.

        Raises Unavailable when the connection is lost; notifications that are sent meanwhile are lost too.
        """
        ...

    async def on_commit(self, callback: Callable[[], Awaitable[object]]) -> None:
        """Call *callback* once the transaction of the current task is committed, or at once when there is none.

        It is called in the task that commits, which raises its error. After a rollback it is not called.
        """
        ...

    def outer_transaction(self, *, isolation: str | None = None) -> OuterTransaction:
        """Return a transaction around all that the current context does with the database; *isolation* is PostgreSQL's.

        On PostgreSQL a transaction inside of it cannot have a stronger isolation than it: that raises RuntimeError.
        """
        ...

    async def insert_soon(self, table: Any, row: Values) -> Any:
        """Insert *row* in one statement with rows of other tasks; return its primary key, or None without one.

        Each caller receives the error of its own row. Inside a transaction or ``connection()``, *row* is
        inserted at once. Raise RuntimeError when an ORM session of the task holds every connection that could do it.
        """
        ...

    def sessions(self, **options: Any) -> AsyncSession:
        """Return a new session of SQLAlchemy's ORM: ``async with database.sessions() as session:``.

        *options* are those of its class, such as ``expire_on_commit`` or ``twophase``.
        """
        ...


class Databases(Protocol):
    """Opens further databases with the options and metrics of the pool."""

    def open(
        self, url: str, name: str, *, read_only: bool, max_size: int | None = None
    ) -> AbstractAsyncContextManager[Database]:
        """Return the database at *url*, open inside the block; *name* identifies it in metrics and errors.

        A *read_only* database raises ReadOnlyError for every statement that is not known to be read-only. *max_size*
        replaces ``max_size`` of ``[plugins.pool]``, as with `open_primary`.
        """
        ...

    def open_primary(self, name: str, *, max_size: int) -> AbstractAsyncContextManager[Database]:
        """Return the servers of DATABASE behind a pool of their own, with at most *max_size* connections.

        Transactions of DATABASE that hold all of its connections do not keep this one waiting. ``min_size`` is at most
        1, and any number of tasks may wait for a connection.
        """
        ...


class TableObserver(Protocol):
    """Observes which tables are read and written; called by the providers of DATABASE, READS and DATABASES."""

    def read(self, tables: Tables) -> None:
        """Record that the current request reads *tables*; called before the read."""
        ...

    async def wrote(self, tables: Tables) -> None:
        """Handle a committed change of *tables*; return when it is handled, or is pending because of a failure."""
        ...

    def may_have_written(self, tables: Tables) -> None:
        """Handle, in the background, a change of *tables* whose commit is uncertain."""
        ...


DATABASE: Key[Database] = Key("database", plugin="pool")
"""The primary database."""

SESSION: RequestKey[AsyncSession] = RequestKey("session", plugin="pool")
"""The session of SQLAlchemy's ORM of one request or websocket; closed, and rolled back unless committed, at its end."""

DATABASES: Key[Databases] = Key("databases", plugin="pool")
"""Opens the replicas, and the queue's own pool."""

TABLE_OBSERVER: Key[TableObserver] = Key("table observer", plugin="cache")
"""Provided by a plugin that observes tables, before DATABASE is provided."""


STATEMENT_LOG: ContextVar[list[str] | None] = ContextVar("scalekit.statement_log", default=None)
"""Receives the text without values of each statement before it runs, for tests; None records nothing."""
