"""Put single rows of many tasks into one statement.

While one statement is under way the rows that come are gathered for the next, as databases gather commits: nobody waits
for a clock, and the busier it is the larger the batches are. A batch that fails is halved until the rows that are to
blame are found, so that each caller gets its own error.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Any

from scalekit import Unavailable
from scalekit.contracts import Values

LARGEST = 500
"""Rows of one statement."""
MOST = 10_000
"""Rows that may wait, of each kind."""

Waiting = tuple["asyncio.Future[Any]", Values]
Rows = OrderedDict["asyncio.Future[Any]", Values]
Insert = Callable[[Any, Sequence[Values]], Awaitable[Sequence[Any]]]


class Batches:
    """Rows on their way, by table and columns; *insert* puts many in, and returns what each caller gets."""

    def __init__(self, insert: Insert) -> None:
        self._insert = insert
        self._waiting: dict[tuple[Any, tuple[str, ...]], Rows] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def add(self, table: Any, row: Values) -> Any:
        """Insert *row* with others; return its result, or raise its error. Raises Unavailable when too many wait."""
        kind = (table, tuple(row))
        rows = self._waiting.get(kind)
        if rows is None:
            rows = self._waiting[kind] = OrderedDict()
            task = asyncio.create_task(self._flush(kind, rows), context=Context())  # it is for no one request
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif len(rows) >= MOST:
            raise Unavailable(f"{MOST} rows wait to be inserted into {table} already")
        result: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        rows[result] = row
        try:
            return await result
        except asyncio.CancelledError:
            rows.pop(result, None)
            raise

    async def finish(self) -> None:
        """Wait until all that was added is in."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _flush(self, kind: tuple[Any, tuple[str, ...]], rows: Rows) -> None:
        try:
            while rows:
                batch = [rows.popitem(last=False) for _ in range(min(LARGEST, len(rows)))]
                await self._put(kind[0], [each for each in batch if not each[0].done()])
        finally:
            del self._waiting[kind]
            for result in rows:
                result.cancel()

    async def _put(self, table: Any, batch: Sequence[Waiting]) -> None:
        if not batch:
            return
        try:
            results = await self._insert(table, [row for _, row in batch])
        except Exception as error:
            await self._put_apart(table, batch, error)
        else:
            for (waiting, _), result in zip(batch, results, strict=True):
                if not waiting.done():
                    waiting.set_result(result)

    async def _put_apart(self, table: Any, batch: Sequence[Waiting], error: Exception) -> None:
        """Find out whose the *error* is; that nothing can be reached, or in time, is everybody's."""
        if len(batch) > 1 and not isinstance(error, Unavailable | TimeoutError):
            middle = len(batch) // 2
            await self._put(table, batch[:middle])
            await self._put(table, batch[middle:])
            return
        for waiting, _ in batch:
            if not waiting.done():
                waiting.set_exception(error)
