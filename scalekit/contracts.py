"""What crosses plugins: protocols, and the keys under which somebody provides them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar

from scalekit.caching.frames import Frames
from scalekit.consistency import Consistency
from scalekit.context import Key
from scalekit.services import SERVICES as SERVICES
from scalekit.services import Instance as Instance
from scalekit.services import ServiceClient as ServiceClient
from scalekit.services import Services as Services

T = TypeVar("T")
Values = Mapping[str, Any]

TTL = "1h"
"""How long a value is kept where nobody says."""


class Row(Protocol):
    """One row: ``row["name"]``, ``row.name``, ``row[0]`` and ``dict(row)``; iterating gives its values."""

    def __getitem__(self, key: Any) -> Any: ...
    def __getattr__(self, name: str) -> Any: ...
    def __len__(self) -> int: ...
    def keys(self) -> Iterable[str]:
        """Return the names of the columns."""
        ...


class Statements(Protocol):
    """What can be asked of a database, and of one connection to it.

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
    def opened(self) -> int:
        """How many connections have been opened: while it stays, every answer comes from one run of the server."""
        ...

    @property
    def trouble(self) -> str:
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


class Cache(Protocol):
    """Values by key, and what forgets them and the answers that are kept.

    A value is bytes, or what JSON can hold. *ttl* is in seconds or a duration such as ``"5m"``. Raises ValueError for
    what is neither.
    """

    async def get(self, key: str, default: Any = None) -> Any:
        """Return the value under *key*, or *default*."""
        ...

    async def get_many(self, keys: Sequence[str]) -> dict[str, Any]:
        """Return the values under those of *keys* that have one."""
        ...

    async def set(self, key: str, value: Any, ttl: str | float = TTL, tags: Sequence[str] = ()) -> None:
        """Keep *value* under *key* for *ttl*."""
        ...

    async def set_many(self, values: Values, ttl: str | float = TTL, tags: Sequence[str] = ()) -> None:
        """Keep all of *values* by key for *ttl*."""
        ...

    async def delete(self, *keys: str) -> None:
        """Forget what is under *keys*."""
        ...

    async def get_or_set(
        self, key: str, ttl: str | float, make: Callable[[], Awaitable[T]], tags: Sequence[str] = ()
    ) -> T:
        """Return the value under *key*; if there is none, that which *make* returns, made once for all who ask."""
        ...

    async def purge(self, *, tag: str | Iterable[str] = (), path: str | Iterable[str] = ()) -> None:
        """Forget, at once, everything that has one of the tags, and the answers of the paths.

        A path is one such as ``/shop``, or all below it as ``/shop/*``.
        """
        ...


class IssuedTokens(Protocol):
    """What a client gets when it has shown who it is."""

    @property
    def access(self) -> str:
        """What it sends with each request, as ``Authorization: Bearer``."""
        ...

    @property
    def refresh(self) -> str:
        """What it gets the next pair for, once."""
        ...

    @property
    def expires_in(self) -> int:
        """Seconds that the access token is good for."""
        ...

    @property
    def headers(self) -> dict[str, str]:
        """What the answer that hands them out must have: the fingerprint's cookie, and that nobody keeps it."""
        ...


class Tokens(Protocol):
    """Issues and ends this service's own tokens. Raises Unavailable, a 503, when what remembers them is gone."""

    async def issue(self, subject: str, claims: Values | None = None, scopes: Sequence[str] = ()) -> IssuedTokens:
        """Return the first pair of a new session of *subject*; raises ValueError for claims that the issuer sets."""
        ...

    async def revoke(self, jti: str, issuer: str = "") -> None:
        """End the one token that has this *jti*, of this service's own where no *issuer* is named."""
        ...

    async def revoke_all(self, subject: str) -> None:
        """End every session of *subject* at once."""
        ...


class Queue(Protocol):
    """Sends messages that are not lost once a call has returned.

    A body is a pydantic model or what JSON can hold. *key* becomes the message's id, so that what is published twice
    under one key has its effect once where the consumer dedupes. *delay* and *timeout* are in seconds or durations such
    as ``"5m"``. Raises ValueError for what cannot be a message.
    """

    async def publish(
        self,
        name: str,
        body: Any,
        *,
        delay: str | float | None = None,
        key: str | None = None,
        timeout: str | float = 5.0,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """Publish a message and return its id once it is safe; raises PublishFailed when it is not within *timeout*."""
        ...

    async def publish_many(
        self,
        name: str,
        bodies: Iterable[Any],
        *,
        delay: str | float | None = None,
        timeout: str | float = 5.0,
        headers: Mapping[str, str] | None = None,
    ) -> list[str]:
        """Publish a message for each of *bodies*, all on their way at once; return their ids once all are safe."""
        ...

    async def publish_after(
        self,
        database: Statements,
        name: str,
        body: Any,
        *,
        delay: str | float | None = None,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """Store a message in the transaction of *database* that the task is in; return its id.

        It is published soon after that is committed, and never when it is rolled back.
        """
        ...


DATABASE: Key[Database] = Key("database", plugin="pool")
"""The database that is written to."""

READS: Key[Statements] = Key("reads", plugin="replica")
"""The database for reading: a replica that has what this client has written, else the one that is written to."""

DATABASES: Key[Databases] = Key("databases", plugin="pool")
"""Opens the replicas."""

CONSISTENCY_TOKENS: Key[ConsistencyTokens] = Key("consistency tokens", plugin="replica")
"""Provided only where there are replicas: elsewhere nothing has to be carried along."""

CACHE: Key[Cache] = Key("cache", plugin="cache")
"""Values that are kept for a while, and the way to forget what is kept."""

CLUSTER_CACHE: Key[Cache] = Key("cluster cache", plugin="cluster-cache")
"""Values that all processes share, on a cluster."""

CLUSTER_FRAMES: Key[Frames] = Key("nodes of the cluster cache", plugin="cluster-cache")
"""The shared store of the cluster cache, for another cache that keeps its items there too."""

TOKENS: Key[Tokens] = Key("tokens", plugin="jwt")
"""Issues and ends this service's own tokens."""

QUEUE: Key[Queue] = Key("queue", plugin="queue")
"""Messages to consumers, here or in other processes."""
