"""Run reads on replicas, and on the primary when no replica can serve them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, aclosing
from contextvars import ContextVar
from functools import partial
from types import TracebackType
from typing import Protocol, cast

from scalekit import ReadOnlyError, Unavailable
from scalekit.contracts import CONSISTENCY, Consistency, Database, Row, Values
from scalekit_replica.metrics import FallbackReason, RoutingMetrics
from scalekit_replica.read_database import ReadDatabase, TransactionOptions
from scalekit_replica.replica import Discard, Operation, Replica, ReplicaBehind, T
from scalekit_replica.router import ReplicaRouter

Iteration = tuple[AsyncGenerator[Row, None], Row | None]
"""The rows of an iteration after the first, and the first or None."""

ATTEMPTS = 2
"""Replicas that are tried before the primary."""


class OpenTransaction(AbstractAsyncContextManager[object], Protocol):
    """A transaction that has begun."""

    async def rollback(self) -> None:
        """Roll back."""
        ...


class RoutedReads(ReadDatabase):
    """Reads from the replica that *router* chooses, else from *primary*."""

    def __init__(self, primary: Database, router: ReplicaRouter, metrics: RoutingMetrics) -> None:
        super().__init__(primary)
        self._router = router
        self._metrics = metrics

    async def iterate(self, query: object, values: Values | None = None) -> AsyncGenerator[Row, None]:
        """Yield rows as they arrive, in a transaction; errors after the first row are raised, not retried."""

        async def begin(database: Database) -> Iteration:
            rows = cast(AsyncGenerator[Row, None], database.iterate(query, values))
            return rows, await anext(rows, None)

        pinned = _PINNED.get()
        if pinned is not None and pinned[0] is self:
            rows, first = await self._read(begin)
        else:
            _, (rows, first) = await self.run(begin, _end_iteration)
        async with aclosing(rows):
            if first is not None:
                yield first
            async for row in rows:
                yield row

    def route(self) -> SessionReads:
        """Return the reads of a session."""
        return SessionReads(self)

    async def begin(self, options: TransactionOptions) -> tuple[Replica | None, OpenTransaction]:
        """Begin a transaction; return its replica, or None for the primary, and the transaction."""
        if options.get("isolation") == "serializable":  # standbys do not support it
            self._metrics.record_fallback(FallbackReason.STATEMENT)
            return None, await _begin(self._primary, options)
        return await self.run(partial(_begin, options=options), _roll_back)

    async def _read(self, operation: Operation[T]) -> T:
        pinned = _PINNED.get()
        if pinned is None or pinned[0] is not self:
            return (await self.run(operation))[1]
        replica = pinned[1]
        if replica is None:
            return await operation(self._primary)
        return await replica.read(operation)

    async def run(
        self,
        operation: Operation[T],
        discard: Discard[T] | None = None,
        *,
        consistency: Consistency | None = None,
        preferred: Replica | None = None,
    ) -> tuple[Replica | None, T]:
        """Run *operation* on a replica, after a failure on another one, and after that on the primary.

        *consistency* replaces that of the request. The *preferred* replica is chosen while it may serve the read.
        """
        consistency = consistency or CONSISTENCY.get()
        reason = FallbackReason.UNAVAILABLE
        for _ in range(ATTEMPTS):
            chosen = await self._router.choose(consistency, preferred)
            if isinstance(chosen, FallbackReason):
                reason = chosen
                break
            position = consistency.position if consistency else 0
            try:
                return chosen, await chosen.read(operation, position, discard)
            except ReadOnlyError:
                reason = FallbackReason.STATEMENT
                break
            except ReplicaBehind:
                reason = FallbackReason.BEHIND
            except Unavailable as error:
                chosen.fail(error.reason)
                reason = FallbackReason.FAILED
        self._metrics.record_fallback(reason)
        return None, await operation(self._primary)

    def _transaction(self, options: TransactionOptions) -> AbstractAsyncContextManager[object]:
        return ReadTransaction(self, options)


class SessionReads:
    """The reads of a session: on one replica of *reads*, so that none sees less than an earlier one."""

    def __init__(self, reads: RoutedReads) -> None:
        self._reads = reads
        self._replica: Replica | None = None

    async def read(self, operation: Operation[T], *, allow_stale: bool = False) -> T:
        """Return the result of *operation* on a replica, else on the primary; with *allow_stale* on any replica."""
        consistency = Consistency() if allow_stale else None
        self._replica, result = await self._reads.run(operation, consistency=consistency, preferred=self._replica)
        return result


class ReadTransaction:
    """A transaction of *reads*: all reads of the task run on its server."""

    def __init__(self, reads: RoutedReads, options: TransactionOptions) -> None:
        self._reads = reads
        self._options = options

    async def __aenter__(self) -> OpenTransaction:
        replica, self._transaction = await self._reads.begin(self._options)
        self._before = _PINNED.get()
        _PINNED.set((self._reads, replica))
        return self._transaction

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _PINNED.set(self._before)
        await self._transaction.__aexit__(kind, error, traceback)


_PINNED: ContextVar[tuple[RoutedReads, Replica | None] | None] = ContextVar("scalekit.replica.pinned", default=None)
"""The open read transaction of the current task: its reads, and its replica or None for the primary."""


async def _begin(database: Database, options: TransactionOptions) -> OpenTransaction:
    transaction: OpenTransaction = await database.transaction(**options).__aenter__()
    return transaction


async def _roll_back(transaction: OpenTransaction) -> None:
    await transaction.rollback()


async def _end_iteration(iteration: Iteration) -> None:
    await iteration[0].aclose()
