"""Statements on PostgreSQL."""

from __future__ import annotations

import itertools
import re
from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from typing import Any
from weakref import WeakSet

import asyncpg

from scalekit_pool.config import PoolConfig
from scalekit_pool.connection_lifecycle import Observer
from scalekit_pool.driver import Failure, Insertion, Refusal, RolledBack
from scalekit_pool.pool import Pool
from scalekit_pool.postgres.bulk_insert import insert
from scalekit_pool.postgres.connector import PostgresConnector, describe_error

Connection = Any  # asyncpg has no types

SLACK = 1.0
"""Seconds that the server has more than its own time-out before the client gives up waiting."""
CHUNK = 100
"""Rows that a stream fetches at once."""

_LOST = (
    asyncpg.ConnectionDoesNotExistError,
    asyncpg.ConnectionFailureError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.InternalClientError,  # the driver lost track: what the server said last was a farewell
    ConnectionError,
)
_STATEMENTS = (asyncpg.PostgresError, asyncpg.exceptions._base.DataError)
_REFUSALS = (
    asyncpg.InvalidPasswordError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
)
_FULL = (asyncpg.DiskFullError, asyncpg.PostgresIOError)
_WRITES = (asyncpg.ReadOnlySQLTransactionError, asyncpg.ObjectNotInPrerequisiteStateError)
"""What a standby says of statements that only a primary can run."""
_CONFLICTS = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
"""What a standby says of statements that were in the way of replaying."""

_READ_ONLY_SETTING = (
    "default_transaction_read_only is on, as managed servers set it when their disk is full; make room, or turn it off"
)
_IS_WRITABLE = "SELECT pg_is_in_recovery(), current_setting('transaction_read_only')"
_STORE = "CREATE TEMPORARY TABLE scalekit_probe ON COMMIT DROP AS SELECT repeat(md5(random()::text), 200) AS text"

_GONE_OBJECT = re.compile(r"cache lookup failed for|with OID \d+ does not exist")

_cursors = itertools.count(1)


class PostgresDriver:
    """Statements on one PostgreSQL, or on the primary among several servers of it."""

    dialect = "postgresql"
    placeholder = "$"

    def __init__(self, addresses: Sequence[str], config: PoolConfig, observer: Observer, read_only: bool) -> None:
        places = [describe_error(address) for address in addresses]
        what = ", ".join(f"{place}/{place.database}" for place in places)
        self.read_only = read_only
        self.doubt: Failure | None = None
        self._begun_read_only: WeakSet[Any] = WeakSet()
        connector = PostgresConnector(places, config, read_only, observer.stale)
        self._timelines = connector.timelines
        self.readers: Pool[Any] = Pool(what, connector, config.limits, observer)
        self.writers = self.readers
        self._deadline = config.statement_timeout + (SLACK if config.statement_cache else 0.0)

    def fetch_all(self, connection: Connection, sql: str, arguments: Sequence[Any]) -> Awaitable[Sequence[Any]]:
        """Return every row."""
        return connection.fetch(sql, *arguments, timeout=self._deadline)  # type: ignore[no-any-return]

    def fetch_one(self, connection: Connection, sql: str, arguments: Sequence[Any]) -> Awaitable[Any]:
        """Return the first row, or None."""
        return connection.fetchrow(sql, *arguments, timeout=self._deadline)  # type: ignore[no-any-return]

    def execute(self, connection: Connection, sql: str, arguments: Sequence[Any]) -> Awaitable[Any]:
        """Return the first column of the first row, if there is one."""
        return connection.fetchval(sql, *arguments, timeout=self._deadline)  # type: ignore[no-any-return]

    def execute_many(self, connection: Connection, sql: str, arguments: Sequence[Sequence[Any]]) -> Awaitable[Any]:
        """Run *sql* once for each of *arguments*, sent together and all or nothing."""
        return connection.executemany(sql, arguments, timeout=self._deadline)  # type: ignore[no-any-return]

    async def stream(
        self, connection: Connection, sql: str, arguments: Sequence[Any]
    ) -> AsyncGenerator[Sequence[Any], None]:
        """Yield rows through a cursor of the server's, which computes all of them first outside a transaction."""
        name = f"scalekit_{next(_cursors)}"
        lasting = "" if connection.is_in_transaction() else " WITH HOLD"
        await self.fetch_all(connection, f"DECLARE {name} NO SCROLL CURSOR{lasting} FOR {sql}", arguments)
        while rows := await self.fetch_all(connection, f"FETCH FORWARD {CHUNK} FROM {name}", ()):
            yield rows
        await self.run(connection, f"CLOSE {name}")

    def insert_many(self, connection: Connection, rows: Sequence[Sequence[Any]], how: Insertion) -> Awaitable[Any]:
        """Insert *rows* in the fastest way that does what *how* asks."""
        return insert(connection, rows, how, self._deadline)

    async def begin(self, connection: Connection, options: Mapping[str, Any]) -> None:
        """Begin a transaction; *options* are isolation, readonly and deferrable."""
        # What the server is at this moment holds for the whole transaction, whatever it says of itself meanwhile.
        if _may_be_read_only(connection):
            self._begun_read_only.add(connection)
        else:
            self._begun_read_only.discard(connection)
        await self.run(connection, _begin(**options))

    async def commit(self, connection: Connection) -> None:
        """Commit; raises RolledBack when a statement had failed, which PostgreSQL answers without an error."""
        answer = await connection.execute("COMMIT", timeout=self._deadline)
        if answer != "COMMIT":
            raise RolledBack("the transaction was rolled back, for a statement in it had failed")

    async def rollback(self, connection: Connection) -> None:
        """Roll back."""
        await self.run(connection, "ROLLBACK")

    async def run(self, connection: Connection, sql: str) -> None:
        """Run *sql*, which may be several statements."""
        await connection.execute(sql, timeout=self._deadline)

    def failure(self, error: BaseException, connection: Connection) -> Failure:
        """Tell what *error* says about *connection*, which it came from."""
        if self.read_only and isinstance(error, _WRITES):
            return Failure.READ_ONLY
        if self.read_only and isinstance(error, _CONFLICTS):
            return Failure.BUSY
        if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
            refused = _may_be_read_only(connection) or connection in self._begun_read_only
            return Failure.DEMOTED if refused else Failure.STATEMENT
        if isinstance(error, _FULL):
            return Failure.UNWRITABLE
        if isinstance(error, asyncpg.OutdatedSchemaCacheError):
            return Failure.MISREAD
        if isinstance(error, asyncpg.InvalidCachedStatementError) or _names_a_gone_object(error):
            return Failure.OUTDATED
        if isinstance(error, _LOST) or (isinstance(error, asyncpg.InterfaceError) and "closed" in str(error)):
            return Failure.LOST
        if isinstance(error, asyncpg.QueryCanceledError | TimeoutError):
            return Failure.LATE
        return Failure.STATEMENT if isinstance(error, _STATEMENTS) else Failure.UNKNOWN

    def read_only_reason(self, connection: Connection) -> str:
        """Return why *connection*, on which a write was refused, does not take any."""
        settings = connection.get_settings()
        if getattr(settings, "in_hot_standby", "off") == "on":
            return "it is a standby"
        if getattr(settings, "default_transaction_read_only", "off") == "on":
            return f"its {_READ_ONLY_SETTING}"
        return f"it is a standby, or its {_READ_ONLY_SETTING}"

    async def forget_schema(self, connection: Connection) -> None:
        """Let *connection* forget all that it remembers of types and statements."""
        await connection.reload_schema_state()

    async def write_refusal(self, connection: Connection, doubt: Failure | None) -> Refusal | None:
        """Return why *connection* takes no writes, or None; where the disk was full, a row is stored to see."""
        row = await connection.fetchrow(_IS_WRITABLE, timeout=self._deadline)
        if row[0]:
            return Refusal("the server is a standby and takes no writes", True)
        if row[1] == "on":
            return Refusal(f"the server takes no writes: its {_READ_ONLY_SETTING}", True)
        if doubt is Failure.UNWRITABLE:
            try:
                async with connection.transaction():
                    await connection.execute(_STORE, timeout=self._deadline)
            except _FULL as error:
                return Refusal(f"the server takes no writes: {error}", False)
        return None

    def is_refusal(self, error: Exception) -> bool:
        """Tell whether the server refuses the user, the password or the database."""
        return isinstance(error, _REFUSALS)

    def let_write(self, connection: Connection) -> None:
        """Do nothing: every connection writes."""

    @property
    def report(self) -> str:
        """What is wrong with servers that are not used; empty when nothing is."""
        return self._timelines.report

    def stop_running(self, connection: Connection) -> None:
        """Do nothing: asyncpg asks the server to cancel what nobody waits for."""


def _names_a_gone_object(error: BaseException) -> bool:
    """Tell whether the server was given the number of a type that has been dropped, and perhaps made anew."""
    kinds = (asyncpg.InternalServerError, asyncpg.UndefinedObjectError)
    return isinstance(error, kinds) and _GONE_OBJECT.search(str(error)) is not None


def _may_be_read_only(connection: Connection) -> bool:
    """Tell whether the server, or the session, is read-only by default; since PostgreSQL 14 it says so by itself."""
    if connection is None:
        return True
    settings = connection.get_settings()
    told = [getattr(settings, name, "unknown") for name in ("in_hot_standby", "default_transaction_read_only")]
    return told != ["off", "off"]


def _begin(isolation: str | None = None, readonly: bool = False, deferrable: bool = False) -> str:
    """Return the statement that begins such a transaction."""
    level = f" ISOLATION LEVEL {isolation.replace('_', ' ').upper()}" if isolation else ""
    return f"BEGIN{level}{' READ ONLY' if readonly else ''}{' DEFERRABLE' if deferrable else ''}"
