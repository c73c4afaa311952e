"""Group commit: run the write operations of many tasks in one transaction, because commits are expensive."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from scalekit_queue.sqlite.store import MessageStore

logger = logging.getLogger("scalekit.queue")

MAX_BATCH = 1000
"""Maximum number of operations in one transaction."""
CLOSE_TIMEOUT = 5.0
"""Seconds to write the waiting operations at shutdown."""
RETRY_DELAY = 0.2
"""Seconds before a failed transaction is tried again."""


@dataclass(slots=True, eq=False)
class WriteOperation:
    """A function to call in a transaction, and the future of its result; *started* once it may have been committed."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    future: asyncio.Future[Any]
    started: bool = False


class GroupCommitWriter:
    """Executes the operations of *store* in its thread, all that wait in one transaction."""

    def __init__(self, store: MessageStore) -> None:
        self.store = store
        self.last_error = ""
        self._waiting: OrderedDict[WriteOperation, None] = OrderedDict()
        self._wake = asyncio.Event()
        self._closing = False
        self._thread = ThreadPoolExecutor(1, "scalekit-queue")

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None, None]:
        """Write while inside, and waiting operations on leaving; raise sqlite3.Error when the file cannot be opened."""
        await self.run(self.store.open)
        task = asyncio.create_task(self._write_loop(), name="scalekit: queue writer")
        try:
            yield
        finally:
            self._closing = True
            self._wake.set()
            await asyncio.wait([task], timeout=CLOSE_TIMEOUT)
            task.cancel()
            await asyncio.wait([task])
            self._thread.submit(self.store.close)
            self._thread.shutdown(wait=True)

    @property
    def waiting(self) -> int:
        """The number of operations that wait."""
        return len(self._waiting)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> WriteOperation:
        """Queue a call of *function*; its future has the result once the transaction is committed."""
        operation = WriteOperation(function, arguments, asyncio.get_running_loop().create_future())
        self._waiting[operation] = None
        self._wake.set()
        return operation

    async def wait(self, operation: WriteOperation) -> Any:
        """Return the result of *operation* once committed; on cancellation remove it unless it has started."""
        try:
            return await operation.future
        except asyncio.CancelledError:
            self._waiting.pop(operation, None)
            raise

    async def execute(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call *function* in a transaction, and return its result once committed."""
        return await self.wait(self.submit(function, *arguments))

    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call *function*, which must not write, in the store's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    async def _write_loop(self) -> None:
        while not self._closing:
            await self._wake.wait()
            self._wake.clear()
            while batch := self._next_batch():
                await self._write(batch)

    def _next_batch(self) -> list[WriteOperation]:
        batch: list[WriteOperation] = []
        while self._waiting and len(batch) < MAX_BATCH:
            operation, _ = self._waiting.popitem(last=False)
            if not operation.future.done():
                batch.append(operation)
        return batch

    async def _write(self, batch: list[WriteOperation]) -> None:
        try:
            results = await self.run(self._transact, batch)
        except sqlite3.OperationalError as error:
            # The file is locked, or the disk is full: nothing was written, and a later attempt may succeed.
            if self.last_error != str(error):
                logger.warning("the queue's file cannot be written, retrying: %s", error)
            self.last_error = str(error)
            self._requeue(batch)
            await asyncio.sleep(RETRY_DELAY)
            self._wake.set()
        except Exception as error:
            if len(batch) > 1:  # only the operation that cannot be executed fails
                for operation in batch:
                    await self._write([operation])
            elif not batch[0].future.done():
                batch[0].future.set_exception(error)
        else:
            self.last_error = ""
            for operation, result in zip(batch, results, strict=True):
                if not operation.future.done():
                    operation.future.set_result(result)

    def _requeue(self, batch: list[WriteOperation]) -> None:
        """Put operations that were not written back at the head of the queue, in their order."""
        for operation in reversed(batch):
            if not operation.future.done():
                self._waiting[operation] = None
                self._waiting.move_to_end(operation, last=False)

    def _transact(self, batch: list[WriteOperation]) -> list[Any]:
        self.store.begin()
        try:
            for operation in batch:
                operation.started = True
            results = [operation.function(*operation.arguments) for operation in batch]
            self.store.commit()
        except BaseException:
            self.store.rollback()
            for operation in batch:
                operation.started = False
            raise
        return results
