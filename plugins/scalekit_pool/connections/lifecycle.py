"""Open, reset and close pooled connections.

All slow work runs here in tasks of its own, and the connection counts towards ``max_size`` meanwhile: opening, with
backoff while it fails; resetting a session of unknown state; closing.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

logger = logging.getLogger("scalekit.pool")

C = TypeVar("C")

INITIAL_BACKOFF = 0.05
"""Maximum seconds between the first two attempts to open a connection; each further pause is longer by as much."""
MAX_BACKOFF = 0.5
"""Maximum seconds between two attempts to open a connection: a server that is back is noticed within this time."""
RESET_TIMEOUT = 5.0
"""Seconds that the reset or the closing of a connection may take."""
RELEASE_TIMEOUT = 2.0
"""Seconds that connections in use have at the stop until they are closed."""


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Numbers of connections and waiting requests, and timeouts in seconds."""

    min_size: int = 1
    max_size: int = 20
    max_waiting: int = 100
    acquire_timeout: float = 5.0
    connect_timeout: float = 2.0
    idle_timeout: float = 30.0
    max_lifetime: float = 1800.0


class DatabaseConnector(Protocol[C]):
    """Opens, resets and closes connections of one kind."""

    async def open(self) -> C:
        """Return a new connection."""
        ...

    def is_open(self, connection: C) -> bool:
        """Return whether *connection* is not known to be closed."""
        ...

    async def reset(self, connection: C) -> None:
        """Restore the session state of a new connection; raise when that is not possible."""
        ...

    async def close(self, connection: C) -> None:
        """Close *connection*, in any state."""
        ...

    def explain(self, error: Exception) -> str:
        """Return why ``open`` failed, in plain words and without secrets."""
        ...

    async def stop(self) -> None:
        """Stop background tasks."""
        ...


class PoolObserver(Protocol):
    """Receives the events of a connection pool, to count them."""

    def waited(self, seconds: float) -> None:
        """Record how long a task waited for a connection."""
        ...

    def opened(self) -> None:
        """Count an opened connection."""
        ...

    def closed(self, reason: str) -> None:
        """Count a closed connection."""
        ...

    def refused(self, reason: str) -> None:
        """Count a task that was refused a connection."""
        ...

    def stale(self) -> None:
        """Count a connection refused because its server is a primary of an old timeline."""
        ...


class PooledConnection(Generic[C]):
    """A connection, when it expires on the loop's clock, and the *generation* of the pool that it was opened in."""

    __slots__ = ("connection", "expires_at", "generation", "idle_since")

    def __init__(self, connection: C, expires_at: float, generation: int) -> None:
        self.connection = connection
        self.expires_at = expires_at
        self.generation = generation
        self.idle_since = 0.0


class ConnectionSupplier(Generic[C]):
    """Opens up to ``limits.max_size`` connections to *target*, and passes each that is ready to *hand_out*.

    *missing_connections* returns the number of further connections that are needed. *last_error* is the reason why the
    last attempt failed, empty after a success; *opened* counts successes.
    """

    def __init__(
        self,
        target: str,
        connector: DatabaseConnector[C],
        limits: PoolLimits,
        observer: PoolObserver,
        *,
        hand_out: Callable[[PooledConnection[C]], None],
        missing_connections: Callable[[], int],
    ) -> None:
        self.target = target
        self.size = 0
        self.generation = 0
        self.last_error = ""
        self.opened = 0
        self._connector = connector
        self.limits = limits
        self._observer = observer
        self._hand_out = hand_out
        self._missing_connections = missing_connections
        self._opening: set[asyncio.Task[None]] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._open_connections: set[PooledConnection[C]] = set()
        self._all_closed = asyncio.Event()
        self._stopped = False
        self._warned = False

    @property
    def unreachable_reason(self) -> str:
        """The reason why no connection is open; empty while one is open or no error is known."""
        return self.last_error if self.size <= len(self._opening) else ""

    @property
    def openable(self) -> int:
        """Number of connections that are being opened or could be."""
        return self.limits.max_size - self.size + len(self._opening)

    async def open_first(self) -> None:
        """Open one connection; raise the driver's error when that fails, and retry in the background."""
        self.size += 1
        try:
            pooled = await self._connect()
        except BaseException:
            self.size -= 1
            self.open_missing(1)
            raise
        self._hand_out(pooled)

    def open_missing(self, minimum: int = 0) -> None:
        """Start to open the connections that are missing, at least *minimum*, within ``max_size``."""
        if self._stopped:
            return
        missing = max(self._missing_connections(), minimum) - len(self._opening)
        for _ in range(min(missing, self.limits.max_size - self.size)):
            self.size += 1
            self._spawn(self._open(), self._opening)

    def discard(self, pooled: PooledConnection[C], reason: str) -> None:
        """Close *pooled*, and open another one if it is needed; do nothing when it was closed at the stop."""
        if pooled not in self._open_connections:
            return
        self._open_connections.remove(pooled)
        if not self._open_connections:
            self._all_closed.set()
        self._observer.closed(reason)
        self._spawn(self._close(pooled), self._closing)

    def reset(self, pooled: PooledConnection[C]) -> None:
        """Reset *pooled* in the background and hand it out, or close it when the reset fails."""
        self._spawn(self._reset(pooled), self._closing)

    async def stop(self, report: Callable[[PooledConnection[C]], None]) -> None:
        """Open no more connections, and wait until all are closed.

        Those that are in use for longer than RELEASE_TIMEOUT are passed to *report*, and closed.
        """
        self._stopped = True
        for task in self._opening:
            task.cancel()
        await self._connector.stop()
        await self._wait_for_releases()
        for pooled in list(self._open_connections):
            report(pooled)
            self.discard(pooled, "stopped")
        await self._wait_for_tasks()

    async def _wait_for_releases(self) -> None:
        if self._open_connections:
            waiting = asyncio.create_task(self._all_closed.wait())
            await asyncio.wait([waiting], timeout=RELEASE_TIMEOUT)
            waiting.cancel()

    async def _wait_for_tasks(self) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + RESET_TIMEOUT
        while tasks := self._opening | self._closing:  # a connection that is being reset is closed only then
            _, unfinished = await asyncio.wait(tasks, timeout=max(0.0, end - loop.time()))
            if unfinished:
                for task in unfinished:
                    task.cancel()
                await asyncio.wait(unfinished, timeout=1.0)
                return

    async def _open(self) -> None:
        """Open one connection; while that fails, one task retries with backoff and the others end."""
        attempt = 0
        try:
            while True:
                try:
                    pooled = await self._connect()
                    break
                except Exception:
                    self._warn()
                    if len(self._opening) > 1:
                        raise
                    attempt += 1
                await asyncio.sleep(min(INITIAL_BACKOFF * attempt, MAX_BACKOFF) * random.uniform(0.5, 1.0))
        except BaseException as error:
            self.size -= 1
            if isinstance(error, asyncio.CancelledError):
                raise
            return
        finally:
            self._opening.discard(asyncio.current_task())
        self._hand_out(pooled)
        self.open_missing()

    async def _connect(self) -> PooledConnection[C]:
        generation = self.generation
        try:
            async with asyncio.timeout(self.limits.connect_timeout):
                connection = await self._connector.open()
        except Exception as error:
            self._record_error(error)
            raise
        if self._warned:
            logger.warning("%s is reachable again", self.target)
        self.last_error, self._warned = "", False
        self.opened += 1
        self._observer.opened()
        lifetime = self.limits.max_lifetime * random.uniform(0.9, 1.0)  # so that not all expire at once
        pooled = PooledConnection(connection, asyncio.get_running_loop().time() + lifetime, generation)
        self._open_connections.add(pooled)
        self._all_closed.clear()
        return pooled

    def _warn(self) -> None:
        """Log the last error, once per outage."""
        if not self._warned:
            self._warned = True
            logger.warning("no connection to %s: %s", self.target, self.last_error)

    def _record_error(self, error: Exception) -> None:
        timed_out = type(error) is TimeoutError
        timeout = f"no response within connect_timeout {self.limits.connect_timeout:g}s"
        self.last_error = timeout if timed_out else self._connector.explain(error)

    async def _reset(self, pooled: PooledConnection[C]) -> None:
        try:
            async with asyncio.timeout(RESET_TIMEOUT):
                await self._connector.reset(pooled.connection)
        except Exception:
            self.discard(pooled, "reset_failed")
        except BaseException:
            self.discard(pooled, "stopped")
            raise
        else:
            self._hand_out(pooled)

    async def _close(self, pooled: PooledConnection[C]) -> None:
        try:
            async with asyncio.timeout(RESET_TIMEOUT):
                await self._connector.close(pooled.connection)
        except Exception as error:
            logger.debug("closing a connection to %s failed: %r", self.target, error)
        finally:
            self.size -= 1
            self.open_missing()

    def _spawn(self, work: Coroutine[object, None, None], tasks: set[asyncio.Task[None]]) -> None:
        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
