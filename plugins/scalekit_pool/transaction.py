"""Transactions and savepoints."""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import Awaitable, Callable, Generator, Mapping
from types import TracebackType
from typing import ParamSpec, Protocol, Self, TypeVar, cast

from scalekit_pool.connections.driver import Driver, RawConnection, TransactionOptions
from scalekit_pool.write_tracker import WriteTracker

T = TypeVar("T")
P = ParamSpec("P")

OPTIONS = ("isolation", "readonly", "deferrable")
ISOLATIONS = ("serializable", "repeatable_read", "read_committed", "read_uncommitted")

_savepoints = itertools.count(1)


class TransactionSession(Protocol):
    """The session of a task: a connection, and its open *transactions*, inner ones last.

    *orphans* are those that another task has rolled back together with an outer one.
    """

    transactions: list[Transaction]
    orphans: list[Transaction]
    writes: WriteTracker

    @property
    def discards_connection(self) -> bool:
        """Whether the next ``leave`` discards the connection, because a statement was interrupted."""
        ...

    async def enter(self) -> None:
        """Acquire a connection for reading, unless the session has one."""
        ...

    async def enter_to_write(self) -> None:
        """Acquire a connection for writing, unless the session has one."""
        ...

    def leave(self, *, dirty: bool = False) -> None:
        """Release the connection with the last ``leave``; *dirty* means that its session state is unknown."""
        ...

    async def control(self, work: Callable[[Driver, RawConnection], Awaitable[None]], sql: str) -> None:
        """Run *work*, the statement *sql* that controls a transaction, on the connection."""
        ...


class Transaction:
    """A transaction, or a savepoint inside one: its statements are committed together or not at all.

    *session_factory* returns the session of the task that starts it. Use it as a context manager, as a decorator, or by
    ``await database.transaction()`` followed by ``commit()`` or ``rollback()``.
    """

    def __init__(
        self, session_factory: Callable[[], TransactionSession], force_rollback: bool, options: Mapping[str, object]
    ) -> None:
        self._session_factory = session_factory
        self._force_rollback = force_rollback
        self._options = options
        self._session: TransactionSession | None = None
        self._savepoint = ""
        self._prepared = ""
        self.task: asyncio.Task[object] | None = None
        """The task whose statements are in it; None when only those of one connection are."""
        self.is_orphan = False
        """Whether another task has rolled it back, and its own has not tried to end it since."""
        self.callbacks: list[Callable[[], Awaitable[object]]] = []
        """Called in their order once the outermost transaction is committed."""

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None and not self._force_rollback:
            await self.commit()
        else:
            await self.rollback()

    def __await__(self) -> Generator[object, None, Self]:
        return self.start().__await__()

    def __call__(self, function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        """Return *function* wrapped so that each call runs in a transaction."""

        @functools.wraps(function)
        async def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
            async with Transaction(self._session_factory, self._force_rollback, self._options):
                return await function(*args, **kwargs)

        return wrapper

    async def start(self) -> Self:
        """Begin; raise Unavailable when no connection is available in time, and ValueError for an unknown option."""
        options = _checked(self._options)
        while not await self._begin(self._session_factory(), options):
            pass  # an outer transaction that other tasks use too has ended: the session is another one now
        return self

    def check_inner(self, isolation: object) -> None:
        """Accept a savepoint, whatever its *isolation*: it has that of this transaction."""

    async def prepare(self, work: Callable[[Driver, RawConnection], Awaitable[None]], identifier: str) -> None:
        """Prepare to commit by *work*; commit or rollback then ends the prepared transaction *identifier*, a literal.

        Raise when the transaction was rolled back instead.
        """
        if self._savepoint:
            raise RuntimeError("no two-phase commit inside of another transaction: use a session without twophase")
        await self._active_session().control(work, "PREPARE TRANSACTION")
        self._prepared = identifier

    async def commit(self) -> None:
        """Commit; raise when the transaction was rolled back instead."""
        session = self._active_session()
        if session.transactions[-1] is not self:
            await self.rollback()
            raise RuntimeError("rolled back: an inner transaction is still open; commit or roll it back first")
        self._detach(session)
        try:
            if self._savepoint:
                await self._run_on_savepoint(session, "RELEASE SAVEPOINT")
            elif self._prepared:
                await self._end_prepared(session, "COMMIT PREPARED")
            else:
                await session.control(lambda driver, raw: driver.commit(raw), "COMMIT")
        except BaseException:
            session.writes.end_pending()  # it may have been committed although it failed
            session.leave(dirty=True)
            if not self._savepoint:
                session.writes.report_unknown_outcome()
            raise
        if self._savepoint:
            session.transactions[-1].callbacks += self.callbacks
            session.leave()
            return
        session.writes.end_pending()
        session.leave()
        await session.writes.report_committed()
        for callback in self.callbacks:
            await callback()

    async def rollback(self) -> None:
        """Roll back.

        When that fails the pool discards the connection, which rolls back too. After an interrupted statement it is
        discarded at once, since the server may not respond.
        """
        session = self._active_session()
        while session.transactions[-1] is not self:
            inner = session.transactions[-1]  # the rollback undoes it too
            inner._detach(session)
            inner.become_orphan(session)
            session.leave()
        self._detach(session)
        try:
            await self._undo(session)
        finally:
            if not self._savepoint:
                await session.writes.report_rolled_back()

    def become_orphan(self, session: TransactionSession) -> None:
        """Let the session refuse further statements of the task, unless it is the current one."""
        if self.task not in (None, asyncio.current_task()):
            self.is_orphan = True
            session.orphans.append(self)

    async def _begin(self, session: TransactionSession, options: TransactionOptions) -> bool:
        """Begin on *session*; return False when its outermost transaction has changed meanwhile."""
        outermost, self._savepoint = session.transactions[:1], ""
        await (session.enter() if self.read_only else session.enter_to_write())
        try:
            if outermost and session.transactions[:1] == outermost:
                outermost[0].check_inner(options.get("isolation"))
                self._savepoint = f"scalekit_{next(_savepoints)}"
                await self._run_on_savepoint(session, "SAVEPOINT")
            elif not session.transactions and not outermost:
                await session.control(lambda driver, raw: driver.begin(raw, options), "BEGIN")
        except BaseException:
            session.leave(dirty=True)
            raise
        if session.transactions[:1] != outermost:
            session.leave()
            return False
        session.transactions.append(self)
        self._session, self.task = session, asyncio.current_task()
        return True

    async def _undo(self, session: TransactionSession) -> None:
        if session.discards_connection and not self._prepared:
            session.leave(dirty=True)
            return
        try:
            if self._savepoint:
                await self._run_on_savepoint(session, "ROLLBACK TO SAVEPOINT")
            elif self._prepared:
                await self._end_prepared(session, "ROLLBACK PREPARED")
            else:
                await session.control(lambda driver, raw: driver.rollback(raw), "ROLLBACK")
        except Exception:
            session.leave(dirty=True)
            if self._prepared:  # it outlives the connection
                raise
        except BaseException:
            session.leave(dirty=True)
            raise
        else:
            session.leave()

    async def _run_on_savepoint(self, session: TransactionSession, operation: str) -> None:
        sql = f"{operation} {self._savepoint}"
        await session.control(lambda driver, raw: driver.run(raw, sql), operation)  # names of savepoints do not recur

    async def _end_prepared(self, session: TransactionSession, operation: str) -> None:
        sql = f"{operation} {self._prepared}"
        await session.control(lambda driver, raw: driver.run(raw, sql), operation)

    def _active_session(self) -> TransactionSession:
        session = self._session
        if session is None or self not in session.transactions:
            self.is_orphan = False
            raise RuntimeError("this transaction has ended, or its task has; begin a new one")
        return session

    def _detach(self, session: TransactionSession) -> None:
        session.transactions.pop()
        self._session = None

    @property
    def read_only(self) -> bool:
        """Whether the transaction was begun as read-only."""
        return bool(self._options.get("readonly"))


def _checked(options: Mapping[str, object]) -> TransactionOptions:
    """Return *options*; raise ValueError for an unknown one, and for an unknown isolation level."""
    for option in options:
        if option not in OPTIONS:
            raise ValueError(f"unknown transaction option {option!r}; known options: {', '.join(OPTIONS)}")
    isolation = options.get("isolation")
    if isolation is not None and isolation not in ISOLATIONS:
        raise ValueError(f"unknown isolation level {isolation!r}; known levels: {', '.join(ISOLATIONS)}")
    return cast(TransactionOptions, options)
