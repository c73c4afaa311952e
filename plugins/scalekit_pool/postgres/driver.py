"""Run statements on PostgreSQL with asyncpg."""

from __future__ import annotations

import itertools
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from weakref import WeakSet

import asyncpg
from sqlalchemy.engine.interfaces import Dialect

from scalekit.contracts import Row
from scalekit_pool.connections.driver import (
    WRITE_DOUBTS,
    Arguments,
    BulkInsert,
    DriverOptions,
    Failure,
    Inserted,
    RawConnection,
    RolledBack,
    TransactionOptions,
    Value,
    WriteRefusal,
)
from scalekit_pool.connections.lifecycle import PoolObserver
from scalekit_pool.connections.pool import ConnectionPool
from scalekit_pool.postgres.bulk_insert import insert
from scalekit_pool.postgres.connector import PostgresConnector, parse_address
from scalekit_pool.postgres.dialect import postgres_dialect
from scalekit_pool.postgres.notifications import listen

CLIENT_TIMEOUT_SLACK = 1.0
"""Seconds that the client waits beyond the server's statement_timeout."""
CHUNK = 100
"""Rows that a stream fetches at once."""

_LOST = (
    asyncpg.ConnectionDoesNotExistError,
    asyncpg.ConnectionFailureError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.InternalClientError,  # asyncpg got an unexpected message: the server is closing the connection
    ConnectionError,
)
_STATEMENTS = (asyncpg.PostgresError, asyncpg.exceptions._base.DataError)
_REFUSALS = (
    asyncpg.InvalidPasswordError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
)
_DISK_ERRORS = (asyncpg.DiskFullError, asyncpg.PostgresIOError)
_WRITE_REFUSALS = (asyncpg.ReadOnlySQLTransactionError, asyncpg.ObjectNotInPrerequisiteStateError)
"""Errors of a standby for statements that need a primary."""
_CONFLICTS = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
"""Errors of a standby for statements that conflict with replay."""

_READ_ONLY_SETTING = (
    "default_transaction_read_only is on, as managed servers set it when the disk is full; free space or turn it off"
)
_IS_WRITABLE = "SELECT pg_is_in_recovery(), current_setting('transaction_read_only')"
_TEST_WRITE = "CREATE TEMPORARY TABLE scalekit_probe ON COMMIT DROP AS SELECT repeat(md5(random()::text), 200) AS text"

_DROPPED_OBJECT = re.compile(r"cache lookup failed for|with OID \d+ does not exist")

_CHANGE = re.compile(
    r"\b(?:INSERT\s+INTO|DELETE\s+FROM|MERGE\s+INTO)\b|(?<!\bFOR\s)(?<!\bKEY\s)\bUPDATE\b", re.IGNORECASE
)
"""A part of statements that cannot have a cursor."""

_cursors = itertools.count(1)


class PostgresDriver:
    """Runs statements on one PostgreSQL server, or on the primary among several."""

    dialect = "postgresql"
    write_doubts: Sequence[Failure] = WRITE_DOUBTS

    def __init__(self, urls: Sequence[str], options: DriverOptions, observer: PoolObserver, read_only: bool) -> None:
        addresses = [parse_address(address) for address in urls]
        target = ", ".join(f"{address}/{address.database}" for address in addresses)
        self.read_only = read_only
        self.write_doubt: Failure | None = None
        self.expression_dialect: Dialect = postgres_dialect()
        self._begun_read_only: WeakSet[RawConnection] = WeakSet()
        self._schema_version = 0
        connector = PostgresConnector(addresses, options, read_only, observer.stale)
        self._timelines = connector.timelines
        self.readers: ConnectionPool[RawConnection] = ConnectionPool(target, connector, options.limits, observer)
        self.writers = self.readers
        self.timeout = options.statement_timeout + (CLIENT_TIMEOUT_SLACK if options.statement_cache_size else 0.0)

    def fetch_all(self, connection: RawConnection, sql: str, arguments: Arguments) -> Awaitable[Sequence[Row]]:
        """Return all rows."""
        return connection.fetch(sql, *arguments, timeout=self.timeout)  # type: ignore[no-any-return] # asyncpg: untyped

    def fetch_one(self, connection: RawConnection, sql: str, arguments: Arguments) -> Awaitable[Row | None]:
        """Return the first row, or None."""
        return connection.fetchrow(sql, *arguments, timeout=self.timeout)  # type: ignore[no-any-return] # asyncpg: untyped

    def execute(self, connection: RawConnection, sql: str, arguments: Arguments) -> Awaitable[Value]:
        """Return the first column of the first row, or None."""
        return connection.fetchval(sql, *arguments, timeout=self.timeout)  # type: ignore[no-any-return] # asyncpg: untyped

    def execute_many(self, connection: RawConnection, sql: str, arguments: Sequence[Arguments]) -> Awaitable[None]:
        """Run *sql* once for each of *arguments*, pipelined and all or nothing."""
        return connection.executemany(sql, arguments, timeout=self.timeout)  # type: ignore[no-any-return] # asyncpg: untyped

    async def stream(
        self, connection: RawConnection, sql: str, arguments: Arguments
    ) -> AsyncGenerator[Sequence[Row], None]:
        """Yield rows through a server-side cursor; outside a transaction the server computes all rows first.

        The rows that a write returns are fetched at once.
        """
        if _CHANGE.search(sql):
            yield await self.fetch_all(connection, sql, arguments)
            return
        name = f"scalekit_{next(_cursors)}"
        lasting = "" if connection.is_in_transaction() else " WITH HOLD"
        await self.fetch_all(connection, f"DECLARE {name} NO SCROLL CURSOR{lasting} FOR {sql}", arguments)
        while rows := await self.fetch_all(connection, f"FETCH FORWARD {CHUNK} FROM {name}", ()):
            yield rows
        await self.run(connection, f"CLOSE {name}")

    def insert_many(
        self, connection: RawConnection, rows: Sequence[Arguments], plan: BulkInsert
    ) -> Awaitable[Inserted]:
        """Insert *rows* by the fastest method that satisfies *plan*."""
        return insert(connection, rows, plan, self.timeout)

    async def listen(self, channel: str, on_payload: Callable[[str], None]) -> None:
        """Call *on_payload* with each payload that the server notifies on *channel*, until cancelled."""
        await listen(self.writers, channel, on_payload)

    async def begin(self, connection: RawConnection, options: TransactionOptions) -> None:
        """Begin a transaction; *options* are isolation, readonly and deferrable."""
        # A transaction stays as read-only as it began, although the server may report a change meanwhile.
        if _may_be_read_only(connection):
            self._begun_read_only.add(connection)
        else:
            self._begun_read_only.discard(connection)
        if connection.schema_version != self._schema_version:  # a stale statement would fail the transaction
            await self.reload_schema(connection)
        await self.run(connection, _begin(**options))

    async def commit(self, connection: RawConnection) -> None:
        """Commit; raise RolledBack when a statement had failed, since PostgreSQL then rolls back without an error."""
        try:
            status = await connection.execute("COMMIT", timeout=self.timeout)
        finally:
            self._end_schema_change(connection)
        if status != "COMMIT":
            raise RolledBack("the transaction was rolled back, because a statement in it failed")

    async def rollback(self, connection: RawConnection) -> None:
        """Roll back."""
        try:
            await self.run(connection, "ROLLBACK")
        finally:
            self._end_schema_change(connection)

    def _end_schema_change(self, connection: RawConnection) -> None:
        """Count the change of the schema again: until now others have prepared statements by the previous schema."""
        self._schema_version += connection.changed_schema
        connection.changed_schema = False

    async def run(self, connection: RawConnection, sql: str) -> None:
        """Run *sql*, which may be several statements."""
        await connection.execute(sql, timeout=self.timeout)

    def classify_error(self, error: BaseException, connection: RawConnection) -> Failure:
        """Return the failure that *error*, raised by *connection*, means."""
        if self.read_only and isinstance(error, _WRITE_REFUSALS):
            return Failure.READ_ONLY
        if self.read_only and isinstance(error, _CONFLICTS):
            return Failure.LOCKED
        if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
            read_only = _may_be_read_only(connection) or connection in self._begun_read_only
            return Failure.DEMOTED if read_only else Failure.STATEMENT
        if isinstance(error, _DISK_ERRORS):
            return Failure.UNWRITABLE
        if isinstance(error, asyncpg.OutdatedSchemaCacheError):
            return Failure.RESULT_CHANGED
        if isinstance(error, asyncpg.InvalidCachedStatementError) or _is_dropped_object(error):
            return Failure.SCHEMA_CHANGED
        if isinstance(error, _LOST) or (isinstance(error, asyncpg.InterfaceError) and "closed" in str(error)):
            return Failure.DISCONNECTED
        if isinstance(error, asyncpg.QueryCanceledError | TimeoutError):
            return Failure.TIMEOUT
        return Failure.STATEMENT if isinstance(error, _STATEMENTS) else Failure.UNKNOWN

    def read_only_reason(self, connection: RawConnection) -> str:
        """Return why *connection*, which refused a write, takes none."""
        settings = connection.get_settings()
        if getattr(settings, "in_hot_standby", "off") == "on":
            return "it is a standby"
        if getattr(settings, "default_transaction_read_only", "off") == "on":
            return f"its {_READ_ONLY_SETTING}"
        return f"it is a standby, or its {_READ_ONLY_SETTING}"

    async def schema_changed(self, connection: RawConnection) -> None:
        """Clear the caches of *connection* now, and those of the others when they begin a transaction."""
        self._schema_version += 1
        connection.changed_schema = connection.is_in_transaction()
        await self.reload_schema(connection)

    async def reload_schema(self, connection: RawConnection) -> None:
        """Clear the types and statements that *connection* has cached."""
        connection.schema_version = self._schema_version
        await connection.reload_schema_state()

    async def write_refusal(self, connection: RawConnection, write_doubt: Failure | None) -> WriteRefusal | None:
        """Return why *connection* takes no writes, or None; after a full disk, write a temporary table to find out."""
        row = await connection.fetchrow(_IS_WRITABLE, timeout=self.timeout)
        if row[0]:
            return WriteRefusal("the server is a standby and takes no writes", True)
        if row[1] == "on":
            return WriteRefusal(f"the server takes no writes: its {_READ_ONLY_SETTING}", True)
        if write_doubt is Failure.UNWRITABLE:
            try:
                async with connection.transaction():
                    await connection.execute(_TEST_WRITE, timeout=self.timeout)
            except _DISK_ERRORS as error:
                return WriteRefusal(f"the server takes no writes: {error}", False)
        return None

    def is_permanent_error(self, error: Exception) -> bool:
        """Return whether the server refuses the user, the password or the database."""
        return isinstance(error, _REFUSALS)

    def enable_writes(self, connection: RawConnection) -> None:
        """Do nothing: every connection may write."""

    @property
    def server_problems(self) -> str:
        """The problems of servers that are not in use; empty when there are none."""
        return self._timelines.problems

    def interrupt(self, connection: RawConnection) -> None:
        """Do nothing: asyncpg cancels the statement on the server when the task is cancelled."""


def _is_dropped_object(error: BaseException) -> bool:
    """Return whether *error* says that the OID of a type or table was dropped, and perhaps created again."""
    kinds = (asyncpg.InternalServerError, asyncpg.UndefinedObjectError)
    return isinstance(error, kinds) and _DROPPED_OBJECT.search(str(error)) is not None


def _may_be_read_only(connection: RawConnection) -> bool:
    """Return whether the server or the session may be read-only by default, as reported since PostgreSQL 14."""
    if connection is None:
        return True
    settings = connection.get_settings()
    reported = [getattr(settings, name, "unknown") for name in ("in_hot_standby", "default_transaction_read_only")]
    return reported != ["off", "off"]


def _begin(isolation: str | None = None, readonly: bool = False, deferrable: bool = False) -> str:
    """Return the BEGIN statement."""
    level = f" ISOLATION LEVEL {isolation.replace('_', ' ').upper()}" if isolation else ""
    return f"BEGIN{level}{' READ ONLY' if readonly else ''}{' DEFERRABLE' if deferrable else ''}"
