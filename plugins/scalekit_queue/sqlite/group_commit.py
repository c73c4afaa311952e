"""What tasks want written, many in one transaction: a commit costs far more than what it commits."""

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

AT_ONCE = 1000
"""Operations in one transaction, at most."""
END_LIMIT = 5.0
"""Seconds that what is still wanted at the end has to be written."""
PAUSE = 0.2
"""Seconds before a transaction that failed is tried again."""


@dataclass(slots=True, eq=False)
class WriteOperation:
    """Something to be done in a transaction, and who waits for it; *begun* once it may have been written."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    future: asyncio.Future[Any]
    begun: bool = False


class GroupCommitWriter:
    """The thread of a store, and what it is to do."""

    def __init__(self, store: MessageStore) -> None:
        self.store = store
        self.trouble = ""
        self._wanted: OrderedDict[WriteOperation, None] = OrderedDict()
        self._wake = asyncio.Event()
        self._ending = False
        self._thread = ThreadPoolExecutor(1, "scalekit-queue")

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Write while inside, and on leaving what is still wanted; raises sqlite3.Error when the file does not open."""
        await self.run(self.store.open)
        task = asyncio.create_task(self._write_on(), name="scalekit: queue writer")
        try:
            yield
        finally:
            self._ending = True
            self._wake.set()
            await asyncio.wait([task], timeout=END_LIMIT)
            task.cancel()
            await asyncio.wait([task])
            self._thread.submit(self.store.close)
            self._thread.shutdown(wait=True)

    @property
    def waiting(self) -> int:
        """How many operations wait."""
        return len(self._wanted)

    def begin(self, function: Callable[..., Any], *arguments: Any) -> WriteOperation:
        """Have *function* called in a transaction soon; its future has the result once that is committed."""
        operation = WriteOperation(function, arguments, asyncio.get_running_loop().create_future())
        self._wanted[operation] = None
        self._wake.set()
        return operation

    async def wait(self, operation: WriteOperation) -> Any:
        """Return the result of *operation* once it is committed; one that is cancelled is removed unless begun."""
        try:
            return await operation.future
        except asyncio.CancelledError:
            self._wanted.pop(operation, None)
            raise

    async def write(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call *function* in a transaction, and return its result once that is committed."""
        return await self.wait(self.begin(function, *arguments))

    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call *function*, which only reads, in the thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    async def _write_on(self) -> None:
        while not self._ending:
            await self._wake.wait()
            self._wake.clear()
            while batch := self._next_batch():
                await self._write(batch)

    def _next_batch(self) -> list[WriteOperation]:
        batch: list[WriteOperation] = []
        while self._wanted and len(batch) < AT_ONCE:
            operation, _ = self._wanted.popitem(last=False)
            if not operation.future.done():
                batch.append(operation)
        return batch

    async def _write(self, batch: list[WriteOperation]) -> None:
        try:
            results = await self.run(self._transact, batch)
        except sqlite3.OperationalError as error:
            # Locked for long, or a full disk: nothing was written, and may be later.
            if self.trouble != str(error):
                logger.warning("the queue's file cannot be written to: %s", error)
            self.trouble = str(error)
            self._put_back(batch)
            await asyncio.sleep(PAUSE)
            self._wake.set()
        except Exception as error:
            for operation in batch:
                if not operation.future.done():
                    operation.future.set_exception(error)
        else:
            self.trouble = ""
            for operation, result in zip(batch, results, strict=True):
                if not operation.future.done():
                    operation.future.set_result(result)

    def _put_back(self, batch: list[WriteOperation]) -> None:
        """Put operations that were not written back at the head, in their order."""
        for operation in reversed(batch):
            if not operation.future.done():
                self._wanted[operation] = None
                self._wanted.move_to_end(operation, last=False)

    def _transact(self, batch: list[WriteOperation]) -> list[Any]:
        self.store.begin()
        try:
            for operation in batch:
                operation.begun = True
            results = [operation.function(*operation.arguments) for operation in batch]
            self.store.commit()
        except BaseException:
            self.store.rollback()
            for operation in batch:
                operation.begun = False
            raise
        return results
