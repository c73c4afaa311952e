"""The DBAPI (PEP 249) of our SQLAlchemy dialects: connections and cursors that run on a database of the pool.

A connection costs nothing until its first statement. While it has no transaction, each read runs on any connection of
the pool, or on a replica; the first statement that may write begins a transaction, which holds one connection of the
pool until its end. So a session that only reads sends neither BEGIN nor ROLLBACK, as its isolation is READ COMMITTED.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import ParamSpec, cast

from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.util.concurrency import await_, in_greenlet

from scalekit.contracts import Database, ReadRoute, ReadRouter
from scalekit_pool.compiler import BoundStatement
from scalekit_pool.connections.driver import Arguments, Operation, RawConnection, T, Untyped
from scalekit_pool.database import PooledDatabase
from scalekit_pool.orm.cursor import DbapiCursor
from scalekit_pool.orm.statement_cache import StatementCache
from scalekit_pool.session import PooledSession
from scalekit_pool.transaction import Transaction

P = ParamSpec("P")

AUTOCOMMIT = "autocommit"
"""The isolation level without transactions; a connection of the pool is held until commit or rollback all the same."""

RouterLookup = Callable[[], ReadRouter | None]
"""Returns the router of the replicas, if there are any now."""


CursorFactory = Callable[["DbapiConnection", bool], DbapiCursor]
"""Returns a cursor, a server-side one if the second argument is true."""


class DbapiConnection:
    """Runs statements on *database*, and reads outside a transaction by the router that *find_router* returns.

    *raise_dbapi_error* raises the error of the DBAPI that means the same as an error of the driver, if there is one.
    *isolation* is a level of BEGIN, AUTOCOMMIT, or None for READ COMMITTED, where BEGIN is sent before the first write.
    """

    def __init__(
        self,
        database: PooledDatabase,
        statements: StatementCache,
        find_router: RouterLookup,
        new_cursor: CursorFactory,
        raise_dbapi_error: Callable[[Exception], None],
    ) -> None:
        self.isolation: str | None = None
        self.readonly = self.deferrable = False
        self.server: str | None = None
        self.is_busy = False
        self._streams: set[DbapiCursor] = set()
        self.database = database
        self._is_closed = False
        self._raise_dbapi_error = raise_dbapi_error
        self._statements = statements
        self._find_router = find_router
        self._new_cursor = new_cursor
        self._session: PooledSession | None = None
        self._transaction: Transaction | None = None
        self._route: ReadRoute | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def driver(self) -> Untyped:
        """The driver of the database."""
        return self.database.driver

    @property
    def driver_connection(self) -> RawConnection:
        """The driver's connection; raise RuntimeError when no transaction holds one."""
        if self._session is None:
            raise RuntimeError("no connection is held: run a statement that writes, or set an isolation level, first")
        return self._session.raw_connection

    @property
    def autocommit(self) -> bool:
        """Whether statements run without transactions, as SQLAlchemy's own connections say."""
        return self.isolation == AUTOCOMMIT

    @autocommit.setter
    def autocommit(self, value: bool) -> None:
        self.set_isolation(AUTOCOMMIT if value else None)

    def cursor(self, server_side: bool = False) -> DbapiCursor:
        """Return a new cursor."""
        return self._new_cursor(self, server_side)

    def set_isolation(self, level: str | None) -> None:
        """Use *level* from the next statement on, after a rollback."""
        self.rollback()
        self.isolation = level

    def commit(self) -> None:
        """Commit, and release the connection of the pool."""
        self._route = None
        self._close_streams()
        if self._session is not None or self.is_busy:
            self.wait(self._commit)

    def rollback(self) -> None:
        """Roll back, and release the connection of the pool; outside a greenlet the pool does so in the background."""
        self._route = None
        if self.is_busy or not in_greenlet():
            self.terminate()
            return
        self._close_streams()
        if self._session is not None:
            self.wait(self._rollback)

    def close(self) -> None:
        """Roll back."""
        self.rollback()

    def terminate(self) -> None:
        """Release the connection of the pool, which rolls back in the background; never waits.

        A statement that another task runs meanwhile fails, and this object is not used again.
        """
        self._is_closed = self.is_busy
        streams, self._streams = self._streams, set()
        session, _ = self._end()
        loop = self._loop
        if loop is None or not (session or streams):
            return
        if asyncio._get_running_loop() is loop:
            _abandon(session, streams)
        elif not loop.is_closed():  # the garbage collector may run in any thread
            loop.call_soon_threadsafe(_abandon, session, streams)

    def control(self, sql: str, operation: str) -> None:
        """Run *sql*, a statement on a savepoint, within the transaction; *operation* describes it in spans."""
        self.wait(self._control, sql, operation)

    async def run(self, operation: Operation[T], sql: str, arguments: Arguments, cursor: DbapiCursor) -> T:
        """Run *sql* by *operation* inside the transaction, or outside of one if it only reads."""
        statement = self._statements.statement(sql, cursor.template)
        bound = BoundStatement(statement, arguments)
        session = self._session
        if session is None:
            if statement.is_read_only and not (self.isolation or self.readonly or cursor.server_side):
                return await self._read(operation, bound, cursor.server or self.server)
            is_joined = self.database.current_outer_transaction() is not None
            is_apart = cursor.reads_apart and statement.is_read_only and not (self.isolation or is_joined)
            session = await (self._hold(cursor) if is_apart else self.begin())
        self.database.compiler.observer.read(statement.tables.read)
        return await session.run(operation, bound)

    def command(self, work: Callable[[RawConnection], Awaitable[T]], sql: str) -> T:
        """Run *work*, a part of the statement *sql*, on the driver's connection, which the transaction holds."""
        session = self._session
        if session is None:
            raise RuntimeError(f"the transaction of this cursor has ended: {sql}")
        return self.wait(session.command, lambda _, raw: work(raw), sql)

    def wait(self, work: Callable[P, Awaitable[T]], *arguments: P.args, **keywords: P.kwargs) -> T:
        """Return the result of *work*; raise the error of the DBAPI that its error means, or its own.

        Raise InvalidRequestError when another task uses the session, or has closed it.
        """
        if self.is_busy or self._is_closed:
            what = "runs a statement in" if self.is_busy else "was closed by"
            raise InvalidRequestError(f"this session {what} another task: use a session of its own in each task")
        self.is_busy = True
        try:
            return await_(work(*arguments, **keywords))
        except Exception as error:
            self._raise_dbapi_error(error)
            raise
        finally:
            self.is_busy = False

    async def begin(self) -> PooledSession:
        """Return the session of the transaction, which begins unless it has begun already."""
        if self._session is not None:
            return self._session
        driver, outer = self.database.driver, self.database.current_outer_transaction()
        if self.isolation == AUTOCOMMIT:
            session = self.database.detached_session(driver.writers, driver.readers)
            await session.enter()
        else:
            pool = driver.readers if self.readonly else driver.writers
            session = self.database.detached_session(pool) if outer is None else outer.session
            self._transaction = await session.transaction(
                isolation=self.isolation, readonly=self.readonly, deferrable=self.deferrable
            )
            self._transaction.task = None  # other statements of this task are not part of it
        if self._is_closed:
            session.abandon()
            raise InvalidRequestError("this session was closed by another task: use a session of its own in each task")
        self._session, self._loop = session, asyncio.get_running_loop()
        return session

    def forget(self, cursor: DbapiCursor) -> None:
        """Record that *cursor* has released the connection of its own."""
        self._streams.discard(cursor)

    async def _hold(self, cursor: DbapiCursor) -> PooledSession:
        """Return a connection for *cursor* alone, which it holds until it is closed."""
        session = self.database.detached_session(self.driver.readers)
        await session.enter()
        cursor.held, self._loop = session, asyncio.get_running_loop()
        self._streams.add(cursor)
        return session

    def _close_streams(self) -> None:
        while self._streams:
            self._streams.pop().close()

    async def _read(self, operation: Operation[T], bound: BoundStatement, server: str | None) -> T:
        """Run *bound*, which only reads, on a replica or the primary."""
        primary = self.database
        if self._route is None and server != "primary" and (router := self._find_router()) is not None:
            self._route = router.route()
        if self._route is None or server == "primary":
            primary.compiler.observer.read(bound.statement.tables.read)
            return await primary.run(operation, bound)

        def read(database: Database) -> Awaitable[T]:
            # A replica may not have replayed earlier writes yet, so what it returns has no known tables.
            primary.compiler.observer.read(bound.statement.tables.read if database is primary else None)
            return cast(PooledDatabase, database).run(operation, bound)

        return await self._route.read(read, allow_stale=server == "replica")

    async def _commit(self) -> None:
        session, transaction = self._end()
        if transaction is not None:
            await transaction.commit()
        elif session is not None:
            session.leave()

    async def _rollback(self) -> None:
        session, transaction = self._end()
        if transaction is not None:
            await transaction.rollback()
        elif session is not None:
            session.leave()

    async def _control(self, sql: str, operation: str) -> None:
        session = await self.begin()
        await session.control(lambda driver, raw: driver.run(raw, sql), operation)

    def _end(self) -> tuple[PooledSession | None, Transaction | None]:
        session, transaction = self._session, self._transaction
        self._session = self._transaction = None
        return session, transaction


def _abandon(session: PooledSession | None, streams: Iterable[DbapiCursor]) -> None:
    for cursor in streams:
        cursor.close()
    if session is not None:
        session.abandon()
