"""Outer transactions: one transaction around everything that a request does with the database.

The tasks of one context share its connection, other than those of `database.transaction()`, so that code in a task that
a middleware starts takes part too. Transactions and sessions of the ORM inside of it are savepoints.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar, Token
from types import TracebackType
from typing import TYPE_CHECKING, Self
from weakref import WeakSet

from scalekit.contracts import Row, Values
from scalekit_pool.compiler import BoundStatement, Query, StatementCompiler
from scalekit_pool.connections.driver import Arguments, Driver, Operation, RawConnection, T
from scalekit_pool.instrumentation import StatementInstrumentation
from scalekit_pool.session import PooledSession, TaskSessions
from scalekit_pool.transaction import ISOLATIONS, Transaction

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

ENDED_WITH_OUTER = (
    "the transaction of this task was rolled back with the one of its request, which has ended: wait for the task"
    " before the response, or create it with context=contextvars.Context()"
)

_WEAKEST_FIRST = ISOLATIONS[::-1]


class OuterSession(PooledSession):
    """The session of an outer transaction, which its tasks share: statements run one at a time."""

    def __init__(self, compiler: StatementCompiler, instrumentation: StatementInstrumentation) -> None:
        super().__init__(compiler, compiler.driver.writers, instrumentation, None)
        self.failure = ""

    async def run(self, operation: Operation[T], bound: BoundStatement) -> T:
        """Run *bound*; one that writes outside of an inner transaction fails alone, as it does without the outer one.

        PostgreSQL would otherwise refuse every later statement of the outer transaction.
        """
        if self.compiler.driver.dialect == "sqlite" or len(self.transactions) != 1 or bound.statement.is_read_only:
            return await super().run(operation, bound)
        driver = self.compiler.driver

        async def run_in_savepoint(raw: RawConnection, sql: str, arguments: Arguments) -> T:
            await driver.run(raw, "SAVEPOINT scalekit_statement")
            try:
                result = await operation(raw, sql, arguments)
            except Exception:
                await driver.run(raw, "ROLLBACK TO SAVEPOINT scalekit_statement")
                raise
            await driver.run(raw, "RELEASE SAVEPOINT scalekit_statement")
            return result

        return await super().run(run_in_savepoint, bound)

    def abandon(self, task: asyncio.Task[object] | None = None) -> None:
        """Make the outer transaction fail: a part of it was neither committed nor rolled back."""
        self.failure = "a session in it was closed while it ran a statement; await its close()"


class PooledOuterTransaction(Transaction):
    """A transaction of *session* that every use of its database in the current context joins.

    Leaving the block rolls it back, unless it was committed.
    """

    def __init__(self, session: OuterSession, isolation: str | None) -> None:
        super().__init__(lambda: session, False, {} if isolation is None else {"isolation": isolation})
        self.session = session
        self.orm_sessions: WeakSet[AsyncSession] = WeakSet()
        self._isolation = isolation or "read_committed"
        self._token: Token[PooledOuterTransaction | None] | None = None

    async def start(self) -> Self:
        """Begin; raise Unavailable when no connection is available in time."""
        await super().start()
        self._token = OUTER_TRANSACTION.set(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._token is not None:
            OUTER_TRANSACTION.reset(self._token)
            self._token = None
        if self.is_open:
            await self.rollback()

    @property
    def is_open(self) -> bool:
        """Whether it was neither committed nor rolled back."""
        return self in self.session.transactions

    @property
    def has_open_work(self) -> bool:
        """Whether a transaction or a session of the ORM inside of it is still open."""
        return len(self.session.transactions) > 1 or any(session.in_transaction() for session in self.orm_sessions)

    async def fetch_one(self, query: Query, values: Values | None = None) -> Row | None:
        """Run a statement of the transaction itself, which fails when the statement does; return the first row."""
        compiler = self.session.compiler
        return await PooledSession.run(self.session, compiler.driver.fetch_one, compiler.compile(query, values))

    async def commit(self) -> None:
        """Commit, after `roll_back_open_work`.

        Raise RuntimeError when a part of it has an unknown outcome: it is rolled back.
        """
        if self.session.failure:
            await self.rollback()
            raise RuntimeError(f"the transaction of the request was rolled back: {self.session.failure}")
        await self.roll_back_open_work()
        await super().commit()

    async def roll_back_open_work(self) -> None:
        """Roll back the transactions inside of it that are still open."""
        if len(self.session.transactions) > 1:
            inner = self.session.transactions[1]
            inner.become_orphan(self.session)
            await inner.rollback()

    def check_task(self) -> None:
        """Raise RuntimeError while the current task is inside of a transaction that was rolled back with this one.

        Otherwise its next statements would take effect alone.
        """
        task = asyncio.current_task()
        if any(each.is_orphan and each.task is task for each in self.session.orphans):
            raise RuntimeError(ENDED_WITH_OUTER)

    async def prepare(self, work: Callable[[Driver, RawConnection], Awaitable[None]], identifier: str) -> None:
        """Raise RuntimeError: the session that prepares to commit is only a part of this transaction."""
        raise RuntimeError("no two-phase commit inside of another transaction: use a session without twophase")

    def check_inner(self, isolation: object) -> None:
        """Raise RuntimeError when a transaction inside of this one asks for a stronger isolation level."""
        if self.session.compiler.driver.dialect == "sqlite" or isolation is None:
            return  # transactions of SQLite are serializable
        if _WEAKEST_FIRST.index(str(isolation)) > _WEAKEST_FIRST.index(self._isolation):
            raise RuntimeError(
                f"a transaction with isolation {isolation!r} inside of one with {self._isolation!r}:"
                " begin the outer one with that isolation"
            )


OUTER_TRANSACTION: ContextVar[PooledOuterTransaction | None] = ContextVar(
    "scalekit.pool.outer_transaction", default=None
)
"""The outer transaction of the current context, which may have ended."""


class OuterTransactions:
    """The methods of a database that begin outer transactions, and find the transaction that code takes part in."""

    compiler: StatementCompiler
    _instrumentation: StatementInstrumentation
    _sessions: TaskSessions

    def outer_transaction(self, *, isolation: str | None = None) -> PooledOuterTransaction:
        """Return a transaction that every use of this database in the current context joins."""
        return PooledOuterTransaction(OuterSession(self.compiler, self._instrumentation), isolation)

    def current_outer_transaction(self) -> PooledOuterTransaction | None:
        """Return the open outer transaction of the current context, or None."""
        outer = OUTER_TRANSACTION.get()
        if outer is None or outer.session.compiler is not self.compiler:
            return None
        if outer.session.orphans:
            outer.check_task()
        return outer if outer.is_open else None

    @property
    def in_transaction(self) -> bool:
        """Whether the current task has an open transaction, or the current context an outer one."""
        session = self._current_session()
        return session is not None and bool(session.transactions)

    def _current_session(self) -> PooledSession | None:
        outer = self.current_outer_transaction()
        if outer is not None:
            return outer.session
        return self._sessions.get(asyncio.current_task())  # type: ignore[arg-type] # None: no task
