"""Combine concurrent single-row inserts into one INSERT statement.

While one statement runs, further rows are collected for the next, like a group commit: no row waits for a timer, and
batches grow with the load. A batch that fails is halved until the rows at fault are found, so that each caller gets the
error of its own row.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context

from sqlalchemy import Table

from scalekit import Unavailable
from scalekit.contracts import Values
from scalekit_pool.connections.driver import Value

MAX_BATCH_ROWS = 500
"""Rows of one statement."""
MAX_PENDING_ROWS = 10_000
"""Rows that may wait, for each table and set of columns."""

Waiting = tuple["asyncio.Future[Value]", Values]
Rows = OrderedDict["asyncio.Future[Value]", Values]
Kind = tuple[Table | str, tuple[str, ...]]
"""The table and the columns of a row."""
Insert = Callable[[Table | str, Sequence[Values]], Awaitable[Sequence[Value]]]


class InsertBatcher:
    """Pending rows by table and columns; *insert* inserts a batch, and returns one result for each row."""

    def __init__(self, insert: Insert) -> None:
        self._insert = insert
        self._waiting: dict[Kind, Rows] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def add(self, table: Table | str, row: Values) -> Value:
        """Insert *row* in a batch; return its result or raise its error. Raise Unavailable when too many rows wait."""
        kind = (table, tuple(row))
        rows = self._waiting.get(kind)
        if rows is None:
            rows = self._waiting[kind] = OrderedDict()
            # Without the context of the request: the batch belongs to several requests.
            task = asyncio.create_task(self._flush(kind, rows), context=Context())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif len(rows) >= MAX_PENDING_ROWS:
            raise Unavailable(f"{MAX_PENDING_ROWS} rows are waiting for insertion into {table}")
        result: asyncio.Future[Value] = asyncio.get_running_loop().create_future()
        rows[result] = row
        try:
            return await result
        except asyncio.CancelledError:
            rows.pop(result, None)
            raise

    async def finish(self) -> None:
        """Wait until all pending rows are inserted."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _flush(self, kind: Kind, rows: Rows) -> None:
        try:
            while rows:
                batch = [rows.popitem(last=False) for _ in range(min(MAX_BATCH_ROWS, len(rows)))]
                await self._insert_batch(kind[0], [each for each in batch if not each[0].done()])
        finally:
            del self._waiting[kind]
            for result in rows:
                result.cancel()

    async def _insert_batch(self, table: Table | str, batch: Sequence[Waiting]) -> None:
        if not batch:
            return
        try:
            results = await self._insert(table, [row for _, row in batch])
        except Exception as error:
            await self._insert_halves(table, batch, error)
        else:
            for (waiting, _), result in zip(batch, results, strict=True):
                if not waiting.done():
                    waiting.set_result(result)

    async def _insert_halves(self, table: Table | str, batch: Sequence[Waiting], error: Exception) -> None:
        """Isolate the rows that cause *error*; Unavailable and TimeoutError concern every row."""
        if len(batch) > 1 and not isinstance(error, Unavailable | TimeoutError):
            middle = len(batch) // 2
            await self._insert_batch(table, batch[:middle])
            await self._insert_batch(table, batch[middle:])
            return
        for waiting, _ in batch:
            if not waiting.done():
                waiting.set_exception(error)
