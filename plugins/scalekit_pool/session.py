"""One connection that a task keeps while it is inside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from time import perf_counter
from types import TracebackType
from typing import Any, Self

from scalekit.contracts import CONSISTENCY, Consistency, Row, Tables, Values
from scalekit_pool.compiler import Call
from scalekit_pool.connection_lifecycle import Lent
from scalekit_pool.driver import DOUBTFUL, Driver, Failure, Insertion
from scalekit_pool.instrumentation import Outcome
from scalekit_pool.pool import Pool
from scalekit_pool.query_api import Asking, Language, Operation
from scalekit_pool.rows import converted
from scalekit_pool.schema_change import STALE, run_repeatably
from scalekit_pool.session_connection import HeldConnection
from scalekit_pool.slow_query_log import ORIGIN, places_above
from scalekit_pool.table_usage import table_name
from scalekit_pool.write_tracking import Writes, tell_failed

Sessions = dict["asyncio.Task[Any]", "Session"]


class Session(Asking):
    """Keeps one connection of *pool* from the first ``enter`` to the last ``leave``.

    *kept* has the sessions of all tasks, so that a task finds its own again; without it the session is nobody's, and
    may go from task to task. What runs here runs one after the other. With *readers*, it keeps one of those until
    something writes, and goes on with one of *pool* then.
    """

    def __init__(
        self,
        language: Language,
        pool: Pool[Any],
        outcome: Outcome,
        kept: Sessions | None,
        readers: Pool[Any] | None = None,
    ) -> None:
        self.language = language
        self.writes = Writes(language.observer)
        self.transactions: list[Any] = []
        self._was_cut = False
        self._pool = pool
        self._held = HeldConnection(pool, readers or pool)
        self._outcome = outcome
        self._kept = kept
        self._task: asyncio.Task[Any] | None = None
        self._depth = 0
        self._pending: Consistency | None = None
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
            await self.writes.tell()

    @property
    def raw_connection(self) -> Any:
        """The driver's own connection; what was done with it is undone when it is given back."""
        if self._held.only_reads and not self._is_reading:
            self._held.let_write(self.language.driver)
        self._held.is_used = True
        self._begin_write()
        self.writes.lend_raw()
        return self._held.connection

    def session(self) -> Session:
        """Return this one."""
        return self

    async def enter(self) -> None:
        """Take a connection, unless there is one."""
        await self._enter(self._held.readers)

    async def enter_to_write(self) -> None:
        """Take a connection that writes, unless there is one."""
        await self._enter(self._pool)
        try:
            async with self._lock:
                await self._prepare(reads=False)
        except BaseException:
            self.leave()
            raise

    def leave(self, *, used: bool = False) -> None:
        """Give it back with the last who leaves; *used* says that nobody knows how it is."""
        if not self._depth:  # the task that kept it has ended
            return
        self._held.is_used = self._held.is_used or used
        self._depth -= 1
        if self._depth > 0:
            return
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None and self._kept is not None:
            self._task.remove_done_callback(self._abandon)
            if self._kept.get(self._task) is self:
                del self._kept[self._task]
        self.note_write()
        self.writes.given_back()
        self._held.is_used = self._held.is_used or bool(self.transactions)
        self.transactions.clear()
        self._was_cut = False
        self._held.put_back()

    async def run(self, operation: Operation, call: Call) -> Any:
        """Run *call* on this connection."""
        statement = call.statement
        async with self._lock:
            if self._held.lent is None or not statement.reads:
                await self._prepare(statement.reads)
            self._held.is_used = self._held.is_used or not statement.plain
            began = perf_counter()
            try:
                driver, connection = self.language.driver, self._held.connection
                result = await run_repeatably(driver, connection, operation, call, bool(self.transactions))
            except BaseException as error:
                if not statement.reads:
                    self._begin_write()  # it may have been done all the same
                    await self._tell_failed(error, statement.used.written)
                self._fail(error, statement.sql)
                raise
            self._outcome.note(statement.sql, perf_counter() - began, result)
        if not statement.reads:
            self._begin_write()
            self.writes.add(statement.used.written)
            if not self.transactions:
                await self.writes.tell()
        return result

    async def iterate(self, query: Any, values: Values | None = None) -> AsyncGenerator[Row, None]:
        """Yield rows as they come, and keep the connection meanwhile."""
        async with aclosing(self.stream(self.language.call(query, values))) as rows:
            async for row in rows:
                yield row

    async def stream(self, call: Call) -> AsyncGenerator[Row, None]:
        """Yield the rows of *call*, and keep the connection meanwhile."""
        if not call.statement.reads:
            self._begin_write()
            self.writes.add(call.statement.used.written)  # who leaves last tells it
        async with self, aclosing(self._stream(call)) as rows:
            try:
                async for row in rows:
                    yield converted(row, call.processors) if call.processors else row
            finally:
                if not call.statement.reads:
                    self.writes.add(call.statement.used.written)

    async def insert(self, rows: Sequence[Sequence[Any]], how: Insertion) -> Any:
        """Insert *rows*, inside a transaction."""
        self._begin_write()
        tables = frozenset((table_name(how.target.name),))
        self.language.observer.read(tables)
        self.writes.add(tables)
        sql = f"INSERT INTO {how.target}, {len(rows)} rows"
        began = perf_counter()
        result = await self.command(lambda driver, raw: driver.insert_many(raw, rows, how), sql)
        self._outcome.note(sql, perf_counter() - began, result)
        return result

    async def command(self, work: Callable[[Driver, Any], Awaitable[Any]], sql: str = "") -> Any:
        """Do *work* of the pool's own on this connection; *sql* says in errors what it is."""
        async with self._lock:
            try:
                return await work(self.language.driver, self._held.connection)
            except BaseException as error:
                if self._failure(error) in STALE:
                    await self.language.driver.forget_schema(self._held.connection)
                self._fail(error, sql)
                raise

    @property
    def is_given_up(self) -> bool:
        """Whether a statement was cut, and the next who leaves gives up the connection, and with it what it began."""
        return self._was_cut and self._depth == 1

    def note_write(self) -> None:
        """Tell that what was written here in a transaction may have come to last, or is undone."""
        if self._pending is not None:
            self._pending.pending -= 1
            self._pending.wrote = True
            self._pending = None

    async def _stream(self, call: Call) -> AsyncGenerator[Any, None]:
        sql = call.statement.sql
        async with self._lock:
            await self._prepare(call.statement.reads)
            self._held.streams += 1
        async with aclosing(self.language.driver.stream(self._held.connection, sql, call.arguments)) as chunks:
            try:
                while True:
                    began = perf_counter()
                    rows = await self.command(lambda driver, raw: anext(chunks, None), sql)
                    if rows is None:
                        break
                    self._outcome.note(sql, perf_counter() - began, rows)
                    for row in rows:
                        yield row
            except GeneratorExit:
                self._held.is_used = True  # the cursor is left open
                raise
            finally:
                self._held.streams -= 1

    @property
    def _is_reading(self) -> bool:
        return bool(self.transactions) and bool(self.transactions[0].read_only)

    async def _enter(self, pool: Pool[Any]) -> None:
        if not self._depth:
            lent = pool.take() or await pool.acquire()
            if not self._depth:
                self._keep(lent, pool)
            else:  # another task entered meanwhile
                pool.release(lent)
        if self._task is not None and asyncio.current_task() is not self._task:
            self._task.remove_done_callback(self._abandon)  # it is not this one's alone
        self._depth += 1

    async def _prepare(self, reads: bool) -> None:
        """Have a connection, one that writes unless what comes *reads*, or the transaction does; the lock is held."""
        held = self._held
        if held.lent is None and self._depth:
            await held.go_on_with(held.readers if reads else self._pool)
        elif not reads and held.only_reads and not self._is_reading and self._depth:
            await held.go_on_with(self._pool)

    def _keep(self, lent: Lent[Any], pool: Pool[Any]) -> None:
        self._held.keep(lent, pool)
        self._task = asyncio.current_task()
        if self._task is not None and self._kept is not None:
            self._kept.setdefault(self._task, self)
            self._task.add_done_callback(self._abandon)
        self._watch()

    def _abandon(self, task: asyncio.Task[Any]) -> None:
        """Give back what *task* had not given back when it ended; what was not committed is undone."""
        self._depth = 1
        self.leave(used=True)
        self.writes.tell_abandoned()

    def _begin_write(self) -> None:
        """Note that the client has written; in a transaction that may come to last only with its end."""
        consistency = CONSISTENCY.get()
        if consistency is None:
            return
        if not self.transactions:
            consistency.wrote = True
        elif self._pending is None:
            consistency.pending += 1
            self._pending = consistency

    async def _tell_failed(self, error: BaseException, tables: Tables) -> None:
        if self.transactions:
            self.writes.add(tables)
        else:
            await tell_failed(self.language.observer, self._failure(error), tables)

    def _failure(self, error: BaseException) -> Failure:
        connection = None if self._held.lent is None else self._held.lent.connection
        failure = self.language.driver.failure(error, connection)
        return Failure.STATEMENT if failure is Failure.DEMOTED and self._is_reading else failure

    def _fail(self, error: BaseException, sql: str) -> None:
        """Note what *error* says about the connection; raises what the application sees in its place, if anything."""
        driver, lent, failure = self.language.driver, self._held.lent, self._failure(error)
        reason = ""
        if failure is not Failure.STATEMENT:
            self._held.is_used = self._was_cut = True
        if failure in DOUBTFUL:
            driver.doubt = failure
        if failure is Failure.UNKNOWN and lent is not None:
            driver.stop_running(lent.connection)
        if failure is Failure.DEMOTED and lent is not None:
            reason = driver.read_only_reason(lent.connection)
            self._pool.forsake()
        self._outcome.fail(error, failure, sql, self._pool.what, reason)

    def _watch(self) -> None:
        outcome, origin, places = self._outcome, ORIGIN.get(), places_above(3)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(outcome.watch.leak_warn, outcome.held, origin, places)
