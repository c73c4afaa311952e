"""Find the primary among several servers, and notice a failover to another one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

import asyncpg

from scalekit_pool.connections.driver import RawConnection
from scalekit_pool.postgres.timelines import StalePrimary

logger = logging.getLogger("scalekit.pool")

Connect = Callable[[int], Awaitable[RawConnection]]

NEWEST_PRIMARY_WAIT = 0.5
"""Seconds that slower servers have, at the first connection of a process, to prove a newer timeline."""
WATCH_INTERVAL = 2.0
"""Seconds between two checks of the servers that are not in use."""


class PrimarySearch:
    """Opens connections to the primary among *count* servers by *connect*, which takes a server's number.

    A check of a server that is not in use may take *timeout* seconds.
    """

    def __init__(self, count: int, connect: Connect, timeout: float) -> None:
        self._count = count
        self._connect = connect
        self._timeout = timeout
        self._current = -1
        self._watcher: asyncio.Task[None] | None = None

    async def open(self) -> RawConnection:
        """Return a connection to the primary, trying all servers concurrently."""
        attempts = [asyncio.ensure_future(self._connect(number)) for number in range(self._count)]
        winner: asyncio.Future[RawConnection] | None = None
        try:
            found = await _first(attempts)
            if self._watcher is None:
                found = await _newest(attempts)
            if self._watcher is None:  # no other task has started it meanwhile
                self._watcher = asyncio.create_task(self._watch(), name="scalekit: pool server watch")
            self._current = next(number for number, attempt in enumerate(attempts) if attempt is found)
            winner = found  # no await follows, so a cancellation cannot leak the connection
            return winner.result()
        finally:
            for attempt in attempts:
                if attempt is not winner:
                    attempt.cancel()
                    attempt.add_done_callback(_close_unused)

    async def stop(self) -> None:
        """Stop watching the servers."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait([self._watcher])
            self._watcher = None

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_INTERVAL)
            others = [number for number in range(self._count) if number != self._current]
            await asyncio.gather(*(self._check(number) for number in others))

    async def _check(self, number: int) -> None:
        """Connect to a server, which records its timeline, and close the connection."""
        try:
            async with asyncio.timeout(self._timeout):
                connection = await self._connect(number)
                await connection.close(timeout=self._timeout)
        except Exception as error:
            logger.debug("check of server %d failed: %r", number, error)


_ERRORS_BY_RELEVANCE = (StalePrimary, asyncpg.PostgresError, BaseException)
"""Errors in the order in which they explain why there is no primary."""


async def _first(attempts: Sequence[asyncio.Future[RawConnection]]) -> asyncio.Future[RawConnection]:
    """Return the attempt that succeeds first; raise the most relevant error when none does."""
    pending = set(attempts)
    errors: list[BaseException] = []
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for attempt in done:
            error = attempt.exception()
            if error is None:
                return attempt
            errors.append(error)
    raise min(
        errors,
        key=lambda error: next(rank for rank, kind in enumerate(_ERRORS_BY_RELEVANCE) if isinstance(error, kind)),
    )


async def _newest(attempts: Sequence[asyncio.Future[RawConnection]]) -> asyncio.Future[RawConnection]:
    """Return the attempt with the newest timeline among those that succeed soon."""
    done, _ = await asyncio.wait(attempts, timeout=NEWEST_PRIMARY_WAIT)
    opened = [attempt for attempt in attempts if attempt in done and attempt.exception() is None]
    return max(opened, key=lambda attempt: int(attempt.result().timeline))


def _close_unused(attempt: asyncio.Future[RawConnection]) -> None:
    """Close a connection that is not used."""
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().terminate()
