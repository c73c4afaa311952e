"""A session: one connection that a task holds for several statements."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from time import perf_counter
from types import TracebackType
from typing import Self

from scalekit.contracts import Row, Tables, Values
from scalekit_pool.compiler import BoundStatement, Query, StatementCompiler
from scalekit_pool.connections.driver import (
    SCHEMA_CHANGES,
    Arguments,
    BulkInsert,
    Driver,
    Failure,
    Inserted,
    Operation,
    RawConnection,
    T,
)
from scalekit_pool.connections.lifecycle import PooledConnection
from scalekit_pool.connections.pool import ConnectionPool
from scalekit_pool.filters import CURRENT_REQUEST
from scalekit_pool.instrumentation import StatementInstrumentation
from scalekit_pool.leak_detection import call_sites
from scalekit_pool.query_api import QueryMethods
from scalekit_pool.session_connection import SessionConnection, run_with_schema_retry
from scalekit_pool.statement_classifier import Statement
from scalekit_pool.table_usage import normalize_table_name
from scalekit_pool.transaction import Transaction
from scalekit_pool.write_tracker import WriteTracker, report_failed_statement

TaskSessions = dict["asyncio.Task[object]", "PooledSession"]


class PooledSession(QueryMethods):
    """Holds one connection of *pool* from the first ``enter`` to the last ``leave``; statements run one at a time.

    *task_sessions* maps tasks to their sessions, so that a task finds its own again; with None the session belongs to
    no task and may be passed between tasks. With *readers*, it holds a connection of that pool until the first write.
    """

    def __init__(
        self,
        compiler: StatementCompiler,
        pool: ConnectionPool[RawConnection],
        instrumentation: StatementInstrumentation,
        task_sessions: TaskSessions | None,
        readers: ConnectionPool[RawConnection] | None = None,
    ) -> None:
        self.compiler = compiler
        self.writes = WriteTracker(compiler.observer)
        self.transactions: list[Transaction] = []
        self.orphans: list[Transaction] = []
        self._was_interrupted = False
        self._pool = pool
        self._connection = SessionConnection(pool, readers or pool)
        self._instrumentation = instrumentation
        self._task_sessions = task_sessions
        self._task: asyncio.Task[object] | None = None
        self._depth = 0
        self._lock = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        await self.enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.leave()
        if not self.transactions:
            await self.writes.report_committed()

    @property
    def raw_connection(self) -> RawConnection:
        """The driver's connection; the pool resets its session before the next use."""
        if self._connection.is_read_only and not self._in_read_only_transaction:
            self._connection.enable_writes(self.compiler.driver)
        self._connection.is_dirty = True
        self.writes.mark(bool(self.transactions))
        self.writes.raw_connection_exposed()
        return self._connection.raw

    def session(self) -> PooledSession:
        """Return this session."""
        return self

    async def enter(self) -> None:
        """Acquire a connection for reading, unless the session has one."""
        await self._enter(self._connection.readers)

    async def enter_to_write(self) -> None:
        """Acquire a connection for writing, unless the session has one."""
        await self._enter(self._pool)
        try:
            async with self._lock:
                await self._ensure_connection(read_only=False)
        except BaseException:
            self.leave()
            raise

    def leave(self, *, dirty: bool = False) -> None:
        """Release the connection with the last ``leave``; *dirty* means that its session state is unknown."""
        if not self._depth:  # released already when its task ended
            return
        self._connection.is_dirty |= dirty
        self._depth -= 1
        if self._depth > 0:
            return
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None and self._task_sessions is not None:
            self._task.remove_done_callback(self.abandon)
            if self._task_sessions.get(self._task) is self:
                del self._task_sessions[self._task]
        self.writes.end_pending()
        self.writes.connection_returned()
        self._connection.is_dirty |= bool(self.transactions)
        self.transactions.clear()
        self._was_interrupted = False
        self._connection.release()

    def abandon(self, task: asyncio.Task[object] | None = None) -> None:
        """Release the connection in any state, as when *task* has ended; its open transaction is rolled back."""
        self._depth = 1
        self.leave(dirty=True)
        self.writes.report_abandoned()

    async def run(self, operation: Operation[T], bound: BoundStatement) -> T:
        """Run *bound* on this connection."""
        statement = bound.statement
        self._instrumentation.count_statement(statement.fingerprint)
        async with self._lock:
            if self._connection.pooled is None or not statement.is_read_only:
                await self._ensure_connection(statement.is_read_only)
            self._connection.is_dirty |= not statement.leaves_session_clean
            began = perf_counter()
            try:
                driver, connection = self.compiler.driver, self._connection.raw
                result = await run_with_schema_retry(driver, connection, operation, bound, bool(self.transactions))
            except BaseException as error:
                if not statement.is_read_only:
                    self.writes.mark(bool(self.transactions))  # it may have been executed although it failed
                    await self._report_failed_statement(error, statement.tables.written)
                self._raise_failure(error, statement.sql, began)
                raise
            self._instrumentation.record(statement, began, result)
        if not statement.is_read_only:
            self.writes.mark(bool(self.transactions))
            self.writes.add(statement.tables.written)
            if not self.transactions:
                await self.writes.report_committed()
        return result

    async def iterate(self, query: Query, values: Values | None = None) -> AsyncGenerator[Row, None]:
        """Yield rows as they arrive, and hold the connection meanwhile."""
        async with aclosing(self.stream(self.compiler.compile(query, values))) as rows:
            async for row in rows:
                yield row

    async def stream(self, bound: BoundStatement) -> AsyncGenerator[Row, None]:
        """Yield the rows of *bound* as they arrive, and hold the connection meanwhile."""
        self._instrumentation.count_statement(bound.statement.fingerprint)
        if not bound.statement.is_read_only:
            self.writes.mark(bool(self.transactions))
            self.writes.add(bound.statement.tables.written)  # reported by the last `leave`
        async with self, aclosing(self._stream(bound)) as rows:
            try:
                async for row in rows:
                    yield row if bound.columns is None else bound.columns.convert(row)
            finally:
                if not bound.statement.is_read_only:
                    self.writes.add(bound.statement.tables.written)

    async def insert(self, rows: Sequence[Arguments], plan: BulkInsert) -> Inserted:
        """Insert *rows* by *plan*, inside a transaction."""
        self.writes.mark(bool(self.transactions))
        tables = frozenset((normalize_table_name(plan.table.name),))
        self.compiler.observer.read(tables)
        self.writes.add(tables)
        sql = f"INSERT INTO {plan.table.shown}, {len(rows)} rows"
        began = perf_counter()
        result = await self.command(lambda driver, raw: driver.insert_many(raw, rows, plan), sql)
        statement = Statement(sql, (), False, False, fingerprint=f"INSERT INTO {plan.table.shown}, ? rows")
        self._instrumentation.record(statement, began, result)
        return result

    async def control(self, work: Callable[[Driver, RawConnection], Awaitable[None]], sql: str) -> None:
        """Run *work*, the statement *sql* that controls a transaction, on this connection."""
        began = perf_counter()
        await self.command(work, sql)
        self._instrumentation.record_span(sql, began, 0)

    async def command(self, work: Callable[[Driver, RawConnection], Awaitable[T]], sql: str = "") -> T:
        """Run *work*, a command of the pool itself, on this connection; *sql* describes it in errors."""
        async with self._lock:
            began = perf_counter()
            try:
                return await work(self.compiler.driver, self._connection.raw)
            except BaseException as error:
                if self._classify(error) in SCHEMA_CHANGES:
                    await self.compiler.driver.reload_schema(self._connection.raw)
                self._raise_failure(error, sql, began)
                raise

    @property
    def discards_connection(self) -> bool:
        """Whether the next ``leave`` discards the connection, because a statement was interrupted."""
        return self._was_interrupted and self._depth == 1

    async def _stream(self, bound: BoundStatement) -> AsyncGenerator[Row, None]:
        sql = bound.statement.sql
        async with self._lock:
            await self._ensure_connection(bound.statement.is_read_only)
            self._connection.streams += 1
        instrumentation, total = self._instrumentation, 0
        opened = began = perf_counter()
        async with aclosing(self.compiler.driver.stream(self._connection.raw, sql, bound.arguments)) as chunks:
            try:
                while (rows := await self.command(lambda driver, raw: anext(chunks, None), sql)) is not None:
                    total += instrumentation.record_chunk(bound.statement, began, rows)
                    for row in rows:
                        yield row
                    began = perf_counter()
                instrumentation.record_span(sql, opened, total)
            except GeneratorExit:
                self._connection.is_dirty = True  # its cursor is still open
                instrumentation.record_span(sql, opened, total)
                raise
            finally:
                self._connection.streams -= 1

    @property
    def _in_read_only_transaction(self) -> bool:
        return bool(self.transactions) and self.transactions[0].read_only

    async def _enter(self, pool: ConnectionPool[RawConnection]) -> None:
        if not self._depth:
            pooled = pool.acquire_nowait() or await pool.acquire()
            if not self._depth:
                self._attach(pooled, pool)
            else:  # another task entered meanwhile
                pool.release(pooled)
        if self._task is not None and asyncio.current_task() is not self._task:
            self._task.remove_done_callback(self.abandon)  # several tasks use the session
        self._depth += 1

    async def _ensure_connection(self, read_only: bool) -> None:
        """Hold a connection, a writer unless *read_only* or in a read-only transaction; the caller has the lock."""
        connection = self._connection
        if connection.pooled is None and self._depth:
            await connection.switch_to(connection.readers if read_only else self._pool)
        elif not read_only and connection.is_read_only and not self._in_read_only_transaction and self._depth:
            await connection.switch_to(self._pool)

    def _attach(self, pooled: PooledConnection[RawConnection], pool: ConnectionPool[RawConnection]) -> None:
        self._connection.acquired_at = call_sites(3)
        self._connection.attach(pooled, pool)
        self._task = asyncio.current_task()
        if self._task is not None and self._task_sessions is not None:
            self._task_sessions.setdefault(self._task, self)
            self._task.add_done_callback(self.abandon)
        self._start_leak_timer()

    async def _report_failed_statement(self, error: BaseException, tables: Tables) -> None:
        if self.transactions:
            self.writes.add(tables)
        else:
            await report_failed_statement(self.compiler.observer, self._classify(error), tables)

    def _classify(self, error: BaseException) -> Failure:
        connection = None if self._connection.pooled is None else self._connection.pooled.connection
        failure = self.compiler.driver.classify_error(error, connection)
        return Failure.STATEMENT if failure is Failure.DEMOTED and self._in_read_only_transaction else failure

    def _raise_failure(self, error: BaseException, sql: str, began: float) -> None:
        """Mark the connection as *error* requires; raise the error that the application sees instead, if any."""
        driver, pooled, failure = self.compiler.driver, self._connection.pooled, self._classify(error)
        reason = ""
        if failure is not Failure.STATEMENT:
            self._connection.is_dirty = self._was_interrupted = True
        if failure in driver.write_doubts:
            driver.write_doubt = failure
        if failure is Failure.UNKNOWN and pooled is not None:
            driver.interrupt(pooled.connection)
        if failure is Failure.DEMOTED and pooled is not None:
            reason = driver.read_only_reason(pooled.connection)
            self._pool.invalidate_demoted()
        self._instrumentation.raise_failure(error, failure, sql, self._pool.target, reason, began=began)

    def _start_leak_timer(self) -> None:
        threshold, record_leak = self._instrumentation.leak_detection_threshold, self._instrumentation.record_leak
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(threshold, record_leak, CURRENT_REQUEST.get(), self._connection.acquired_at)
