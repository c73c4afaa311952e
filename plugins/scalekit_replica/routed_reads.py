"""Run reads on replicas, and on the primary when no replica can serve them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, aclosing
from contextvars import ContextVar
from types import TracebackType
from typing import Any

from scalekit import ReadOnlyError, Unavailable
from scalekit.contracts import CONSISTENCY, Database, Row, Values
from scalekit_replica.metrics import FallbackReason, RoutingMetrics
from scalekit_replica.read_database import ReadDatabase
from scalekit_replica.replica import Discard, Operation, Replica, ReplicaBehind
from scalekit_replica.router import ReplicaRouter

ATTEMPTS = 2
"""Replicas that are tried before the primary."""


class RoutedReads(ReadDatabase):
    """Reads from the replica that *router* chooses, else from *primary*."""

    def __init__(self, primary: Database, router: ReplicaRouter, metrics: RoutingMetrics) -> None:
        super().__init__(primary)
        self._router = router
        self._metrics = metrics

    async def iterate(self, query: Any, values: Values | None = None) -> AsyncGenerator[Row, None]:
        """Yield rows as they arrive, in a transaction; errors after the first row are raised, not retried."""
        pinned = _PINNED.get()
        if pinned is not None and pinned[0] is self:
            rows, first = await self._read(_begin_to_iterate, query, values)
        else:
            _, (rows, first) = await self._route(_begin_to_iterate, (query, values), _end_iterating)
        async with aclosing(rows):
            if first is not None:
                yield first
            async for row in rows:
                yield row

    async def begin(self, options: dict[str, Any]) -> tuple[Replica | None, Any]:
        """Begin a transaction; return its replica, or None for the primary, and the transaction."""
        if options.get("isolation") == "serializable":  # standbys do not support it
            self._metrics.record_fallback(FallbackReason.STATEMENT)
            return None, await _begin(self._primary, options)
        return await self._route(_begin, (options,), _roll_back)

    async def _read(self, operation: Operation, *arguments: Any) -> Any:
        pinned = _PINNED.get()
        if pinned is None or pinned[0] is not self:
            return (await self._route(operation, arguments))[1]
        replica = pinned[1]
        if replica is None:
            return await operation(self._primary, *arguments)
        return await replica.read(operation, arguments)

    async def _route(
        self, operation: Operation, arguments: tuple[Any, ...], discard: Discard | None = None
    ) -> tuple[Replica | None, Any]:
        """Run *operation* on a replica, after a failure on another one, and after that on the primary."""
        consistency = CONSISTENCY.get()
        reason = FallbackReason.UNAVAILABLE
        for _ in range(ATTEMPTS):
            chosen = await self._router.choose(consistency)
            if isinstance(chosen, FallbackReason):
                reason = chosen
                break
            position = consistency.position if consistency else 0
            try:
                return chosen, await chosen.read(operation, arguments, position, discard)
            except ReadOnlyError:
                reason = FallbackReason.STATEMENT
                break
            except ReplicaBehind:
                reason = FallbackReason.BEHIND
            except Unavailable as error:
                chosen.fail(error.reason)
                reason = FallbackReason.FAILED
        self._metrics.record_fallback(reason)
        return None, await operation(self._primary, *arguments)

    def _transaction(self, options: dict[str, Any]) -> AbstractAsyncContextManager[Any]:
        return ReadTransaction(self, options)


class ReadTransaction:
    """A transaction of *reads*: all reads of the task run on its server."""

    def __init__(self, reads: RoutedReads, options: dict[str, Any]) -> None:
        self._reads = reads
        self._options = options

    async def __aenter__(self) -> Any:
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


async def _begin(database: Database, options: dict[str, Any]) -> Any:
    transaction = database.transaction(**options)
    await transaction.__aenter__()
    return transaction


async def _roll_back(transaction: Any) -> None:
    await transaction.rollback()


async def _begin_to_iterate(database: Database, query: Any, values: Values | None) -> tuple[Any, Row | None]:
    rows = database.iterate(query, values)
    return rows, await anext(rows, None)


async def _end_iterating(begun: tuple[Any, Row | None]) -> None:
    await begun[0].aclose()
