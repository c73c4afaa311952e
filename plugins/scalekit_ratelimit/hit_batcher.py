"""Count hits in batches: those that requests send while a statement runs go into the next one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from contextvars import Context
from dataclasses import dataclass

from scalekit import Unavailable, describe_error
from scalekit_ratelimit.limits import Hit, LimitState
from scalekit_ratelimit.shared_limiter import DatabaseUnavailable

MAX_HITS = 256
"""Hits of one statement, which holds the locks of all their keys."""
MAX_WAITING = 10_000
"""Requests of one process that wait for a statement."""

CountHits = Callable[[Sequence[Sequence[Hit]]], Awaitable[Sequence[Sequence[LimitState]]]]
"""Counts the hits of several requests, and returns the states of each."""


@dataclass(frozen=True, slots=True, eq=False)
class _WaitingHits:
    hits: Sequence[Hit]
    deadline: float
    states: asyncio.Future[Sequence[LimitState]]


class HitBatcher:
    """Counts hits by *count*, one statement at a time; a request waits at most *timeout* seconds."""

    def __init__(self, count: CountHits, timeout: float) -> None:
        self._count = count
        self._timeout = timeout
        self._waiting: deque[_WaitingHits] = deque()
        self._task: asyncio.Task[None] | None = None

    def submit(self, hits: Sequence[Hit]) -> asyncio.Future[Sequence[LimitState]]:
        """Return the future of the states after *hits*; raises DatabaseUnavailable when too many requests wait."""
        if len(self._waiting) >= MAX_WAITING:
            raise DatabaseUnavailable(f"{MAX_WAITING} requests wait for the database with the limits", "full")
        loop = asyncio.get_running_loop()
        item = _WaitingHits(hits, loop.time() + self._timeout, loop.create_future())
        self._waiting.append(item)
        if self._task is None:
            # In a context of its own: the statement belongs to no request, nor to the transaction of one.
            self._task = loop.create_task(self._count_all(), context=Context())
        return item.states

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Count inside the block; hits that wait for a statement at its end are refused."""
        try:
            yield
        finally:
            if self._task is not None:
                self._task.cancel()
                await asyncio.wait([self._task])

    async def _count_all(self) -> None:
        batch: list[_WaitingHits] = []
        try:
            await asyncio.sleep(0)  # requests that are ready send their hits too
            while batch := self._next_batch():
                await self._count_batch(batch)
        finally:
            self._task = None
            _fail([*batch, *self._waiting], DatabaseUnavailable("the limits are stopping", "failed"))
            self._waiting.clear()

    def _next_batch(self) -> list[_WaitingHits]:
        batch: list[_WaitingHits] = []
        size = 0
        while self._waiting and (not batch or size + len(self._waiting[0].hits) <= MAX_HITS):
            item = self._waiting.popleft()
            batch.append(item)
            size += len(item.hits)
        return batch

    async def _count_batch(self, batch: Sequence[_WaitingHits]) -> None:
        try:
            async with asyncio.timeout_at(batch[0].deadline):
                counted = await self._count([item.hits for item in batch])
        except TimeoutError:
            _fail(batch, DatabaseUnavailable(f"the database did not count within {self._timeout:g} s", "timeout"))
        except Exception as error:
            reason = error.reason if isinstance(error, Unavailable) else describe_error(error)
            _fail(batch, DatabaseUnavailable(reason, "failed"))
        else:
            for item, states in zip(batch, counted, strict=True):
                if not item.states.done():
                    item.states.set_result(states)


def _fail(items: Sequence[_WaitingHits], error: DatabaseUnavailable) -> None:
    for item in items:
        if not item.states.done():
            item.states.set_exception(error)
            item.states.exception()  # read by the request, unless its client has left
