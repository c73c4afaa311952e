"""Find the primary among several servers, and notice when another one takes its place."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import asyncpg

from scalekit_pool.postgres.timelines import StalePrimary

logger = logging.getLogger("scalekit.pool")

Connection = Any  # asyncpg has no types
Connect = Callable[[int], Awaitable[Connection]]

GRACE = 0.5
"""Seconds that slower servers have, once a process has its first primary, to say that they are a newer one."""
WATCH_INTERVAL = 2.0
"""Seconds between two looks at the servers that are not in use."""


class PrimarySearch:
    """Opens connections to the primary among *count* servers by *connect*, which takes their number.

    A look at the others may take *timeout* seconds.
    """

    def __init__(self, count: int, connect: Connect, timeout: float) -> None:
        self._count = count
        self._connect = connect
        self._timeout = timeout
        self._current = -1
        self._watcher: asyncio.Task[None] | None = None

    async def open(self) -> Connection:
        """Return a connection to the primary; all servers are tried at the same time."""
        attempts = [asyncio.ensure_future(self._connect(number)) for number in range(self._count)]
        winner: asyncio.Future[Connection] | None = None
        try:
            found = await _first(attempts)
            if self._watcher is None:
                found = await _newest(attempts)
            if self._watcher is None:  # nobody else was first meanwhile
                self._watcher = asyncio.create_task(self._watch(), name="scalekit: servers of the pool")
            self._current = next(number for number, attempt in enumerate(attempts) if attempt is found)
            winner = found  # nothing is awaited any more: who is cancelled before leaves no connection open
            return winner.result()
        finally:
            for attempt in attempts:
                if attempt is not winner:
                    attempt.cancel()
                    attempt.add_done_callback(_let_go)

    async def stop(self) -> None:
        """Stop looking."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait([self._watcher])
            self._watcher = None

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_INTERVAL)
            others = [number for number in range(self._count) if number != self._current]
            await asyncio.gather(*(self._look(number) for number in others))

    async def _look(self, number: int) -> None:
        """Connect to a server, which notes what it is, and leave it."""
        try:
            async with asyncio.timeout(self._timeout):
                connection = await self._connect(number)
                await connection.close(timeout=self._timeout)
        except Exception as error:
            logger.debug("a look at server %d of the pool: %r", number, error)


_TELLING = (StalePrimary, asyncpg.PostgresError, BaseException)
"""Errors in the order in which they say most of why there is no primary."""


async def _first(attempts: Sequence[asyncio.Future[Connection]]) -> asyncio.Future[Connection]:
    """Return the attempt that succeeds first; raises what the most telling one raised when none does."""
    pending = set(attempts)
    errors: list[BaseException] = []
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for attempt in done:
            error = attempt.exception()
            if error is None:
                return attempt
            errors.append(error)
    raise min(errors, key=lambda error: next(rank for rank, kind in enumerate(_TELLING) if isinstance(error, kind)))


async def _newest(attempts: Sequence[asyncio.Future[Connection]]) -> asyncio.Future[Connection]:
    """Return the attempt, of those that succeed soon, that has the newest timeline."""
    done, _ = await asyncio.wait(attempts, timeout=GRACE)
    opened = [attempt for attempt in attempts if attempt in done and attempt.exception() is None]
    return max(opened, key=lambda attempt: int(attempt.result().timeline))


def _let_go(attempt: asyncio.Future[Connection]) -> None:
    """Close a connection that is not used."""
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().terminate()
