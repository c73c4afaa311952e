"""The database: the interface of ``databases``, on our own connection pool. No other module imports ``databases``.

We replace parts of ``databases`` 0.9: it leaks connections when BEGIN, COMMIT or ROLLBACK fail or are cancelled, waits
for a connection without a timeout, opens a new connection for each query on SQLite, and compiles every query again.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from time import perf_counter
from typing import TYPE_CHECKING

import databases
from databases.interfaces import DatabaseBackend
from sqlalchemy import Table

from scalekit import Unavailable
from scalekit.contracts import Row, TableObserver, Values
from scalekit.telemetry import error_type
from scalekit_pool.compiler import BoundStatement, ExpressionCompiler, Query, create_compiler
from scalekit_pool.config import SCHEMES
from scalekit_pool.connections.driver import (
    OUTAGES,
    RETRYABLE_READ_FAILURES,
    SCHEMA_CHANGES,
    Driver,
    Failure,
    Operation,
    RawConnection,
    T,
    Value,
)
from scalekit_pool.connections.lifecycle import PooledConnection
from scalekit_pool.connections.pool import ConnectionPool
from scalekit_pool.insert_batcher import InsertBatcher
from scalekit_pool.instrumentation import StatementInstrumentation
from scalekit_pool.outer_transaction import OUTER_TRANSACTION, OuterTransactions
from scalekit_pool.query_api import QueryMethods
from scalekit_pool.session import PooledSession, TaskSessions
from scalekit_pool.session_options import DEFAULT_OPTIONS, SessionOptions
from scalekit_pool.statement_classifier import StatementParser
from scalekit_pool.table_arguments import primary_key, table_name_of
from scalekit_pool.table_usage import normalize_table_name
from scalekit_pool.write_tracker import report_failed_statement

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession


class PoolBackend(DatabaseBackend):
    """Starts and stops the driver's pools when ``databases`` connects and disconnects."""

    def __init__(self, url: databases.DatabaseURL, *, driver: Driver) -> None:
        self._pools = list({id(pool): pool for pool in (driver.writers, driver.readers)}.values())

    async def connect(self) -> None:
        """Open the first connections; raise the driver's error when that fails."""
        for pool in self._pools:
            await pool.start()

    async def disconnect(self) -> None:
        """Close all connections."""
        for pool in self._pools:
            await pool.stop()


class PooledDatabase(OuterTransactions, QueryMethods, databases.Database):  # type: ignore[misc] # narrower signatures
    """A database behind a connection pool, open between ``connect`` and ``disconnect``."""

    SUPPORTED_BACKENDS = dict.fromkeys(SCHEMES, f"{__name__}:PoolBackend")

    def __init__(
        self,
        url: str,
        driver: Driver,
        instrumentation: StatementInstrumentation,
        parser: StatementParser,
        observer: TableObserver | None = None,
        *,
        session_options: SessionOptions = DEFAULT_OPTIONS,
    ) -> None:
        databases.Database.__init__(self, url, driver=driver)
        self.driver = driver
        expressions = ExpressionCompiler(driver.expression_dialect, parser)
        self.compiler = create_compiler(driver, parser, expressions, observer)
        self._instrumentation = instrumentation
        self._sessions: TaskSessions = {}
        self._session_options = session_options
        self._new_session: Callable[..., AsyncSession] | None = None
        self._batcher = InsertBatcher(self._insert_batch)

    @property
    def dialect(self) -> str:
        """``postgresql``, ``sqlite`` or ``mysql``, which MariaDB is too."""
        return self.driver.dialect

    @property
    def connections_opened(self) -> int:
        """Number of connections opened since the start."""
        return self.driver.readers.supplier.opened

    @property
    def unreachable_reason(self) -> str:
        """Why the database cannot be reached now; empty while a connection is open or no error is known."""
        return self.driver.readers.supplier.unreachable_reason

    def is_outage(self, error: Exception) -> bool:
        """Return whether *error* means that the database is unreachable or takes no writes, which may pass."""
        return isinstance(error, Unavailable) or self.driver.classify_error(error, None) in OUTAGES

    def session(self) -> PooledSession:
        """Return the session of the outer transaction or of the current task, or a new one."""
        driver, sessions = self.driver, self._sessions
        current = self._current_session()
        return current or PooledSession(self.compiler, driver.writers, self._instrumentation, sessions, driver.readers)

    def connection(self) -> PooledSession:  # type: ignore[override] # without a Record
        """Return the session of the current task, to be used as a context manager."""
        return self.session()

    async def connect(self) -> None:
        """Open the first connections; raise the driver's error when that fails."""
        if not self.is_connected:
            await self._backend.connect()
            self.is_connected = True

    async def disconnect(self) -> None:
        """Wait for pending inserts, and close all connections."""
        if self.is_connected:
            await self._batcher.finish()
            await self._backend.disconnect()
            self.is_connected = False

    def detached_session(
        self, pool: ConnectionPool[RawConnection], readers: ConnectionPool[RawConnection] | None = None
    ) -> PooledSession:
        """Return a session on a connection of *pool*, until the first write of *readers*, that belongs to no task."""
        return PooledSession(self.compiler, pool, self._instrumentation, None, readers)

    async def listen(self, channel: str, on_payload: Callable[[str], None]) -> None:
        """Call *on_payload* with the payload of each NOTIFY on *channel* until cancelled, and hold a connection."""
        await self.driver.listen(channel, on_payload)

    def sessions(self, **options: Value) -> AsyncSession:
        """Return a new session of SQLAlchemy's ORM with *options* of its class, to be used as a context manager."""
        if self._new_session is None:
            from scalekit_pool.orm.sessions import create_sessions

            self._new_session = create_sessions(self, self._session_options)
        session = self._new_session(**options)
        outer = self.current_outer_transaction()
        if outer is not None:
            outer.orm_sessions.add(session)
        return session

    async def run(self, operation: Operation[T], bound: BoundStatement) -> T:
        """Run *bound* on a pooled connection, or on the session of the current task.

        A read is retried once when its connection is lost or its result type has changed, any statement when the schema
        has changed before it was executed.
        """
        if self._sessions or OUTER_TRANSACTION.get() is not None:
            current = self._current_session()
            if current is not None:
                return await current.run(operation, bound)
        statement = bound.statement
        self._instrumentation.count_statement(statement.fingerprint)
        pool = self.driver.readers if statement.is_read_only else self.driver.writers
        pooled = pool.acquire_nowait() or await pool.acquire()
        began = perf_counter()
        try:
            result = await operation(pooled.connection, statement.sql, bound.arguments)
            if statement.changes_schema:
                await self.driver.schema_changed(pooled.connection)
        except BaseException as error:
            failure = self._release_after_error(error, pool, pooled, bound)
            if failure is Failure.SCHEMA_CHANGED or (failure in RETRYABLE_READ_FAILURES and statement.is_read_only):
                async with self.session() as session:
                    return await session.run(operation, bound)
            if not statement.is_read_only:
                await report_failed_statement(self.compiler.observer, failure, statement.tables.written)
            reason = self.driver.read_only_reason(pooled.connection) if failure is Failure.DEMOTED else ""
            self._instrumentation.raise_failure(error, failure, statement.sql, pool.target, reason, began=began)
            raise
        if statement.leaves_session_clean:
            pool.release(pooled)
        else:
            pool.reset_and_release(pooled)
        self._instrumentation.record(statement, began, result)
        if not statement.is_read_only:
            self._instrumentation.record_write()
            await self.compiler.observer.wrote(statement.tables.written)
        return result

    async def iterate(  # type: ignore[override] # without a Record
        self, query: Query, values: Values | None = None
    ) -> AsyncGenerator[Row, None]:
        """Yield rows as they arrive; other statements of the task use other connections unless it has a session.

        On SQLite the rows of the writer connection are fetched at once, since no other connection can write meanwhile.
        """
        bound = self.compiler.compile(query, values)
        reads = bound.statement.is_read_only
        task_session = self._current_session()
        pool = self.driver.readers if reads else self.driver.writers
        if task_session is not None:
            async with aclosing(task_session.stream(bound)) as rows:
                async for row in rows:
                    yield row
        elif self.dialect == "sqlite" and pool is self.driver.writers:
            for row in await self.fetch_all(query, values):
                yield row
        else:
            session = self.detached_session(pool)
            async with session.transaction(readonly=reads), aclosing(session.stream(bound)) as rows:
                async for row in rows:
                    yield row

    async def insert_soon(self, table: Table | str, row: Values) -> Value:
        """Insert *row* together with rows of other tasks; return its primary key, or None if the table has none.

        Inside ``transaction()`` or ``connection()`` the row is inserted at once, on the same connection. Raise
        RuntimeError when an ORM session of the task holds every connection that could insert it.
        """
        self.compiler.observer.read(frozenset((normalize_table_name(table_name_of(table).name),)))
        if self._current_session() is not None:
            return (await self._insert_batch(table, [row]))[0]
        (row,) = self.compiler.expressions.with_defaults(table, [row])  # in the context of the caller
        self.driver.writers.check_own_connections()
        began, failure = perf_counter(), ""
        try:
            return await self._batcher.add(table, row)
        except BaseException as error:
            failure = error_type(type(error))
            raise
        finally:  # the batch was written in a task without a request
            self._instrumentation.record_span(f"INSERT INTO {table}, with rows of other tasks", began, 0, failure)
            self._instrumentation.record_write()

    async def _insert_batch(self, table: Table | str, rows: Sequence[Values]) -> Sequence[Value]:
        """Insert *rows*; return the primary key of each in order, as RETURNING yields them.

        Raise ValueError when a trigger skips some of several rows, since the keys cannot be assigned then.
        """
        key = primary_key(table)
        if key is None:
            await self.insert_many(table, rows)
            return [None] * len(rows)
        async with self.transaction():
            keys = [row[0] for row in await self.insert_many(table, rows, returning=[key])]
            if len(keys) != len(rows) > 1:
                raise ValueError(
                    f"only {len(keys)} of {len(rows)} rows were inserted into {table}: a trigger skipped some"
                )
        return keys or [None]

    def _release_after_error(
        self,
        error: BaseException,
        pool: ConnectionPool[RawConnection],
        pooled: PooledConnection[RawConnection],
        bound: BoundStatement,
    ) -> Failure:
        """Release the connection as *error* requires; return the classified failure."""
        failure = self.driver.classify_error(error, pooled.connection)
        if failure in self.driver.write_doubts:
            self.driver.write_doubt = failure
        if failure is Failure.DISCONNECTED:
            pool.supplier.discard(pooled, "disconnected")
        elif failure in SCHEMA_CHANGES:
            pool.supplier.discard(pooled, "invalidated")
        elif failure is Failure.DEMOTED:
            pool.invalidate_demoted()
            if pooled.generation == pool.supplier.generation:
                pool.reset_and_release(pooled)
            else:
                pool.supplier.discard(pooled, "demoted")
        elif failure in _HARMLESS and bound.statement.leaves_session_clean:
            pool.release(pooled)
        else:
            self.driver.interrupt(pooled.connection)
            pool.reset_and_release(pooled)
        if not bound.statement.is_read_only and failure is not Failure.STATEMENT:
            self._instrumentation.record_write()  # it may have been executed although it failed
        return failure


_HARMLESS = (Failure.STATEMENT, Failure.LOCKED, Failure.READ_ONLY)
"""Failures that leave the connection unchanged."""
