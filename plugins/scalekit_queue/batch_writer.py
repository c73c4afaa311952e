"""Write in batches: what many tasks write while a statement runs goes into the next statement, with one commit."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Generic, TypeVar

from scalekit_queue.statement_status import StatementStatus

T = TypeVar("T")
R = TypeVar("R")

WRITE_TIMEOUT = 10.0
"""Seconds in which a statement must end; then it is cancelled and its operations are tried again."""
RETRY_DELAY = 0.2
"""Seconds before a failed statement is tried again."""
CLOSE_TIMEOUT = 5.0
"""Seconds to write the waiting operations at shutdown."""


@dataclass(slots=True, eq=False)
class BatchItem(Generic[T, R]):
    """An item to write, and the future of its result; *started* once it may have been written."""

    item: T
    size: int
    future: asyncio.Future[R]
    started: bool = False


class BatchWriter(Generic[T, R]):
    """Writes items by *write*, one statement at a time, with at most *max_size* of their sizes in sum.

    *action* describes the statement in errors, such as ``store messages``.
    """

    def __init__(self, write: Callable[[Sequence[T]], Awaitable[Sequence[R]]], max_size: int, action: str) -> None:
        self.status = StatementStatus(action)
        self._write = write
        self._max_size = max_size
        self._waiting: OrderedDict[BatchItem[T, R], None] = OrderedDict()
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """The number of operations that wait."""
        return len(self._waiting)

    def submit(self, item: T, size: int = 1) -> BatchItem[T, R]:
        """Queue *item*; the future of the operation has its result once it is committed."""
        operation: BatchItem[T, R] = BatchItem(item, size, asyncio.get_running_loop().create_future())
        self._waiting[operation] = None
        if self._task is None:
            # in a context of its own: the statement belongs to none of the requests whose items it writes
            self._task = asyncio.create_task(self._write_all(), context=Context())
        return operation

    async def wait(self, operation: BatchItem[T, R]) -> R:
        """Return the result of *operation* once it is committed; on cancellation it is not written again."""
        try:
            return await operation.future
        finally:
            self._waiting.pop(operation, None)

    async def execute(self, item: T) -> R:
        """Write *item*, and return its result once it is committed."""
        return await self.wait(self.submit(item))

    async def close(self) -> None:
        """Write the waiting operations within CLOSE_TIMEOUT seconds."""
        if (task := self._task) is not None:
            await asyncio.wait([task], timeout=CLOSE_TIMEOUT)
            task.cancel()
            await asyncio.wait([task])

    async def _write_all(self) -> None:
        try:
            await asyncio.sleep(0)  # other tasks that are ready write too
            while batch := self._next_batch():
                if not await self._write_batch(batch):
                    await asyncio.sleep(RETRY_DELAY)
        finally:
            self.status.succeeded()  # nothing waits
            self._task = None

    def _next_batch(self) -> list[BatchItem[T, R]]:
        batch: list[BatchItem[T, R]] = []
        size = 0
        while self._waiting:
            operation = next(iter(self._waiting))
            if batch and size + operation.size > self._max_size:
                break
            del self._waiting[operation]
            if not operation.future.done():
                batch.append(operation)
                size += operation.size
        return batch

    async def _write_batch(self, batch: Sequence[BatchItem[T, R]]) -> bool:
        """Write *batch*, and return whether that succeeded; operations that failed wait again, in their order."""
        for operation in batch:
            operation.started = True
        try:
            async with asyncio.timeout(WRITE_TIMEOUT):
                results = await self._write([operation.item for operation in batch])
        except Exception as error:
            self.status.failed(error)
            # Whether the statement was committed may be unknown, so it is repeated.
            for operation in reversed(batch):
                if not operation.future.done():
                    self._waiting[operation] = None
                    self._waiting.move_to_end(operation, last=False)
            return False
        self.status.succeeded()
        for operation, result in zip(batch, results, strict=True):
            if not operation.future.done():
                operation.future.set_result(result)
        return True
