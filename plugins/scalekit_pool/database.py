"""The database: ``databases`` with a pool under it that loses no connection. Nothing else imports ``databases``.

What ``databases`` 0.9 lacks is replaced here: it leaks connections when BEGIN, COMMIT or a rollback fail or are
cancelled, waits for ever for a connection, opens a new one for each query on SQLite, and compiles every query anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from time import perf_counter
from typing import Any

import databases
from databases.interfaces import DatabaseBackend
from sqlalchemy.dialects.sqlite import pysqlite
from sqlalchemy.engine.interfaces import Dialect

from scalekit.contracts import Row, TableObserver, Values
from scalekit_pool.compiler import Call, Compiler
from scalekit_pool.connection_lifecycle import Lent
from scalekit_pool.driver import DOUBTFUL, REPEATED_READS, Driver, Failure
from scalekit_pool.insert_batcher import Batches
from scalekit_pool.instrumentation import Outcome
from scalekit_pool.observed_compiler import language_of
from scalekit_pool.pool import Pool
from scalekit_pool.query_api import Asking, Operation
from scalekit_pool.schema_change import STALE
from scalekit_pool.session import Session, Sessions
from scalekit_pool.statement_classifier import Reader
from scalekit_pool.table_arguments import primary_key, target_of
from scalekit_pool.table_usage import table_name
from scalekit_pool.write_tracking import tell_failed


class Backend(DatabaseBackend):
    """Opens and closes the driver's pools, where ``databases`` asks for it."""

    def __init__(self, url: databases.DatabaseURL, *, driver: Driver) -> None:
        self._pools = list({id(pool): pool for pool in (driver.writers, driver.readers)}.values())

    async def connect(self) -> None:
        """Open the first connections; raises what the driver raises when that fails."""
        for pool in self._pools:
            await pool.start()

    async def disconnect(self) -> None:
        """Close all connections."""
        for pool in self._pools:
            await pool.stop()


class Database(Asking, databases.Database):  # type: ignore[misc]
    """A database, open between ``connect`` and ``disconnect``."""

    SUPPORTED_BACKENDS = dict.fromkeys(("postgresql", "postgres", "sqlite"), f"{__name__}:Backend")

    def __init__(
        self, url: str, driver: Driver, outcome: Outcome, reader: Reader, observer: TableObserver | None = None
    ) -> None:
        databases.Database.__init__(self, url, driver=driver)
        self.driver = driver
        self.language = language_of(driver, reader, Compiler(_dialect(driver.dialect), reader), observer)
        self._outcome = outcome
        self._sessions: Sessions = {}
        self._batches = Batches(self._insert_batch)

    @property
    def dialect(self) -> str:
        """``postgresql`` or ``sqlite``."""
        return self.driver.dialect

    @property
    def opened(self) -> int:
        """How many connections have been opened."""
        return self.driver.readers.supply.opened

    @property
    def trouble(self) -> str:
        """Why it cannot be reached now; empty while a connection is open, or nothing is known to be wrong."""
        return self.driver.readers.supply.out_of_reach

    def session(self) -> Session:
        """Return the connection that the current task keeps, or one for it."""
        task = asyncio.current_task()
        kept = self._sessions.get(task) if task is not None else None
        driver = self.driver
        return kept or Session(self.language, driver.writers, self._outcome, self._sessions, driver.readers)

    def connection(self) -> Session:  # type: ignore[override]
        """Return the connection that the current task keeps while it is inside."""
        return self.session()

    async def connect(self) -> None:
        """Open the first connections; raises what the driver raises when that fails."""
        if not self.is_connected:
            await self._backend.connect()
            self.is_connected = True

    async def disconnect(self) -> None:
        """Finish what is on its way, and close all connections."""
        if self.is_connected:
            await self._batches.finish()
            await self._backend.disconnect()
            self.is_connected = False

    async def check_writes(self) -> None:
        """Return when it takes writes, or is used so much that there is no doubt; raises ConnectionError when not."""
        driver = self.driver
        pool = driver.writers
        if pool.supply.trouble:
            raise ConnectionError(pool.supply.trouble)
        if driver.doubt is None and pool.supply.size == pool.limits.max_size and not pool.idle:
            return
        async with Session(self.language, pool, self._outcome, None) as session:
            refusal = await session.command(lambda driver, raw: driver.write_refusal(raw, driver.doubt))
        if refusal is None:
            driver.doubt = None
            return
        driver.doubt = driver.doubt or Failure.DEMOTED
        if refusal.of_connection:
            driver.readers.forsake()
            driver.writers.forsake()
        raise ConnectionError(refusal.reason)

    async def run(self, operation: Operation, call: Call) -> Any:
        """Run *call* on any connection, or on the one that the current task keeps.

        A read whose connection was lost is run once more on another, and so is what met a changed schema.
        """
        if self._sessions:
            kept = self._sessions.get(asyncio.current_task())  # type: ignore[arg-type]
            if kept is not None:
                return await kept.run(operation, call)
        statement = call.statement
        pool = self.driver.readers if statement.reads else self.driver.writers
        lent = pool.take() or await pool.acquire()
        began = perf_counter()
        try:
            result = await operation(lent.connection, statement.sql, call.arguments)
        except BaseException as error:
            failure = self._take_back(error, pool, lent, call)
            if failure is Failure.OUTDATED or (failure in REPEATED_READS and statement.reads):
                async with self.session() as session:
                    return await session.run(operation, call)
            if not statement.reads:
                await tell_failed(self.language.observer, failure, statement.used.written)
            reason = self.driver.read_only_reason(lent.connection) if failure is Failure.DEMOTED else ""
            self._outcome.fail(error, failure, statement.sql, pool.what, reason)
            raise
        if statement.plain:
            pool.release(lent)
        else:
            pool.release_used(lent)
        self._outcome.note(statement.sql, perf_counter() - began, result)
        if not statement.reads:
            self._outcome.note_write()
            await self.language.observer.wrote(statement.used.written)
        return result

    async def iterate(  # type: ignore[override]
        self, query: Any, values: Values | None = None
    ) -> AsyncGenerator[Row, None]:
        """Yield rows as they come; what the task does meanwhile is on another connection, unless it keeps one.

        SQLite has one connection that writes, and in memory one in all: what is asked of that comes at once.
        """
        call = self.language.call(query, values)
        reads = call.statement.reads
        kept = self._sessions.get(asyncio.current_task())  # type: ignore[arg-type]
        pool = self.driver.readers if reads else self.driver.writers
        if kept is not None:
            async with aclosing(kept.stream(call)) as rows:
                async for row in rows:
                    yield row
        elif self.dialect == "sqlite" and pool is self.driver.writers:
            for row in await self.fetch_all(query, values):
                yield row
        else:
            session = Session(self.language, pool, self._outcome, None)
            async with session.transaction(readonly=reads), aclosing(session.stream(call)) as rows:
                async for row in rows:
                    yield row

    async def insert_soon(self, table: Any, row: Values) -> Any:
        """Insert *row* together with those of other tasks; return its primary key, where there is one.

        Inside a transaction it is an insert like any other.
        """
        self.language.observer.read(frozenset((table_name(target_of(table).name),)))
        if self.session().transactions:
            return (await self._insert_batch(table, [row]))[0]
        try:
            return await self._batches.add(table, row)
        finally:
            self._outcome.note_write()  # it was written in a task of its own, for all who came together

    async def _insert_batch(self, table: Any, rows: Sequence[Values]) -> Sequence[Any]:
        """Insert *rows*, and return the primary key of each in their order, which is PostgreSQL's and SQLite's too.

        Raises ValueError where a trigger leaves out some of several, for then nobody knows which.
        """
        key = primary_key(table)
        if key is None:
            await self.insert_many(table, rows)
            return [None] * len(rows)
        async with self.transaction():
            keys = [row[0] for row in await self.insert_many(table, rows, returning=[key])]
            if len(keys) != len(rows) > 1:
                raise ValueError(f"only {len(keys)} of {len(rows)} rows went into {table}")
        return keys or [None]

    def _take_back(self, error: BaseException, pool: Pool[Any], lent: Lent[Any], call: Call) -> Failure:
        """Give the connection back as *error* says, and tell what that is."""
        failure = self.driver.failure(error, lent.connection)
        if failure in DOUBTFUL:
            self.driver.doubt = failure
        if failure is Failure.LOST:
            pool.supply.discard(lent, "lost")
        elif failure in STALE:
            pool.supply.discard(lent, "outdated")
        elif failure is Failure.DEMOTED:
            pool.forsake()
            if lent.epoch == pool.supply.epoch:
                pool.release_used(lent)
            else:
                pool.supply.discard(lent, "demoted")
        elif failure in _HARMLESS and call.statement.plain:
            pool.release(lent)
        else:
            self.driver.stop_running(lent.connection)
            pool.release_used(lent)
        if not call.statement.reads and failure is not Failure.STATEMENT:
            self._outcome.note_write()  # it may have been done all the same
        return failure


_HARMLESS = (Failure.STATEMENT, Failure.BUSY, Failure.READ_ONLY)
"""After these the connection is as it was."""


def _dialect(name: str) -> Dialect:
    if name == "sqlite":
        dialect: Any = pysqlite.dialect(paramstyle="qmark")
        dialect.supports_native_decimal = False
        return dialect  # type: ignore[no-any-return]
    from scalekit_pool.postgres.dialect import postgres_dialect  # only there is asyncpg needed

    return postgres_dialect()
