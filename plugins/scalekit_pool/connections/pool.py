"""A bounded connection pool with a queue of waiting requests.

A release never awaits, so no cancellation can interrupt it and leak the connection. Waiting requests are served first
in, first out; idle connections are reused last in, first out.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from time import perf_counter
from typing import Generic, NamedTuple, TypeVar

from scalekit import Unavailable
from scalekit_pool.connections.lifecycle import (
    RELEASE_TIMEOUT,
    ConnectionSupplier,
    DatabaseConnector,
    PooledConnection,
    PoolLimits,
    PoolObserver,
)
from scalekit_pool.leak_detection import CallSite, log_unreleased

C = TypeVar("C")

MAINTENANCE_INTERVAL = 1.0
"""Seconds between two closings of idle and expired connections."""


class Holder(NamedTuple):
    """The task that holds a connection for several statements, and the code that acquired it."""

    task: asyncio.Task[object] | None
    acquired_at: Sequence[CallSite]


class ConnectionPool(Generic[C]):
    """Connections to *target*, a name for errors and logs; open between ``start`` and ``stop``."""

    def __init__(
        self, target: str, connector: DatabaseConnector[C], limits: PoolLimits, observer: PoolObserver
    ) -> None:
        self.target = target
        self.limits = limits
        self.supplier = ConnectionSupplier(
            target, connector, limits, observer, hand_out=self._hand_out, missing_connections=self._missing_connections
        )
        self._observer = observer
        self._holders: dict[PooledConnection[C], Holder] = {}
        self._is_open = connector.is_open
        self._idle: deque[PooledConnection[C]] = deque()
        self._waiters: deque[asyncio.Future[PooledConnection[C]]] = deque()
        self._maintenance_task: asyncio.Task[None] | None = None
        self._open = False
        self._invalidated_at = -MAINTENANCE_INTERVAL

    @property
    def idle(self) -> int:
        """Number of idle connections."""
        return len(self._idle)

    @property
    def waiting(self) -> int:
        """Number of tasks that wait for a connection."""
        return len(self._waiters)

    async def start(self) -> None:
        """Open the first connection, raising the driver's error when that fails; open more in the background."""
        self._loop = asyncio.get_running_loop()
        self._open = True
        self._maintenance_task = asyncio.create_task(self._maintain(), name=f"scalekit: pool of {self.target}")
        await self.supplier.open_first()
        self.supplier.open_missing()

    async def stop(self) -> None:
        """Close all connections, those in use after a deadline; waiting tasks get Unavailable."""
        self._open = False
        if self._maintenance_task is not None:
            self._maintenance_task.cancel()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(Unavailable(f"the connection pool of {self.target} has stopped"))
        self._waiters.clear()
        while self._idle:
            self.supplier.discard(self._idle.popleft(), "stopped")
        await self.supplier.stop(self._log_unreleased)
        if self._maintenance_task is not None:
            await asyncio.wait({self._maintenance_task})

    def acquire_nowait(self) -> PooledConnection[C] | None:
        """Return an idle connection, or None when there is none or other tasks wait already."""
        idle = self._idle
        if not idle or self._waiters:
            return None
        now = self._loop.time()
        while idle:
            pooled = idle.pop()
            if self._is_open(pooled.connection) and pooled.expires_at > now:
                return pooled
            self._retire(pooled)
        return None

    async def acquire(self) -> PooledConnection[C]:
        """Return a connection.

        Raise Unavailable after ``acquire_timeout``, or at once when too many tasks wait, and RuntimeError when the task
        would wait for itself.
        """
        pooled = self.acquire_nowait()
        if pooled is not None:
            return pooled
        if not self._open:
            raise Unavailable(f"the connection pool of {self.target} is not open")
        self.check_own_connections()
        if len(self._waiters) >= max(self.limits.max_waiting, self.supplier.openable):
            self._observer.refused("full")
            reason = f"{len(self._waiters)} requests wait for a connection to {self.target} already"
            raise Unavailable(f"{reason}: {self._exhausted_reason()}")
        return await self._wait()

    def hold(self, pooled: PooledConnection[C], acquired_at: Sequence[CallSite] = ()) -> None:
        """Record that the current task holds *pooled* for several statements, until ``unhold``."""
        self._holders[pooled] = Holder(asyncio.current_task(), acquired_at)

    def unhold(self, pooled: PooledConnection[C]) -> None:
        """Record that no task holds *pooled* any more."""
        self._holders.pop(pooled, None)

    def release(self, pooled: PooledConnection[C]) -> None:
        """Take back a connection whose session is unchanged."""
        if not self._open:
            self.supplier.discard(pooled, "stopped")
        elif pooled.generation != self.supplier.generation:
            self.supplier.discard(pooled, "invalidated")
        elif not self._is_open(pooled.connection):
            self.supplier.discard(pooled, "disconnected")
        else:
            self._hand_out(pooled)

    def reset_and_release(self, pooled: PooledConnection[C]) -> None:
        """Take back a connection whose session state is unknown: it is reset before its next use."""
        if self._open and self._is_open(pooled.connection) and pooled.generation == self.supplier.generation:
            self.supplier.reset(pooled)
        else:
            self.release(pooled)

    def invalidate_all(self) -> None:
        """Replace every connection: close idle ones now and those in use when they are released."""
        self.supplier.generation += 1
        while self._idle:
            self.supplier.discard(self._idle.popleft(), "invalidated")

    def invalidate_demoted(self) -> None:
        """Replace every connection, since the server takes no writes; at most once per maintenance interval."""
        now = self._loop.time()
        if now - self._invalidated_at >= MAINTENANCE_INTERVAL:
            self._invalidated_at = now
            self.invalidate_all()

    def check_own_connections(self) -> None:
        """Raise RuntimeError when the current task holds every connection that it could wait for."""
        task, most = asyncio.current_task(), self.limits.max_size
        if len(self._holders) >= most and all(holder.task is task for holder in self._holders.values()):
            raise RuntimeError(
                f"this task would wait for itself: it already holds {most} of {most} connections to {self.target}; "
                f"commit or close its session, or end its transaction, first"
            )

    def _log_unreleased(self, pooled: PooledConnection[C]) -> None:
        holder = self._holders.get(pooled)
        log_unreleased(self.target, RELEASE_TIMEOUT, holder.acquired_at if holder else ())

    async def _wait(self) -> PooledConnection[C]:
        waiter: asyncio.Future[PooledConnection[C]] = self._loop.create_future()
        self._waiters.append(waiter)
        self.supplier.open_missing()
        began = perf_counter()  # the time of the loop has a resolution of a millisecond
        timer = self._loop.call_later(self.limits.acquire_timeout, self._time_out, waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.release(waiter.result())  # assigned in the moment of the cancellation
            raise
        finally:
            timer.cancel()
            self._observer.waited(perf_counter() - began)
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def _time_out(self, waiter: asyncio.Future[PooledConnection[C]]) -> None:
        if not waiter.done():
            self._observer.refused("timeout")
            limit = self.limits.acquire_timeout
            waiter.set_exception(
                Unavailable(
                    f"no connection to {self.target} within acquire_timeout {limit:g}s: {self._exhausted_reason()}"
                )
            )

    def _exhausted_reason(self) -> str:
        return self.supplier.last_error or f"all {self.supplier.size} connections are in use"

    def _hand_out(self, pooled: PooledConnection[C]) -> None:
        """Assign *pooled* to the task that has waited longest, or add it to the idle connections."""
        if not self._open:
            self.supplier.discard(pooled, "stopped")
            return
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(pooled)
                return
        pooled.idle_since = self._loop.time()
        self._idle.append(pooled)

    def _missing_connections(self) -> int:
        """Return how many connections should be opened for waiting tasks and for ``min_size``."""
        return max(len(self._waiters), self.limits.min_size - self.supplier.size)

    def _retire(self, pooled: PooledConnection[C]) -> None:
        self.supplier.discard(pooled, "lifetime" if self._is_open(pooled.connection) else "disconnected")

    async def _maintain(self) -> None:
        """Close connections that are idle too long, expired or disconnected, and keep ``min_size`` open."""
        while True:
            await asyncio.sleep(MAINTENANCE_INTERVAL)
            now = self._loop.time()
            for pooled in [each for each in self._idle if each.expires_at <= now or not self._is_open(each.connection)]:
                self._idle.remove(pooled)
                self._retire(pooled)
            surplus = self.supplier.size - self.limits.min_size
            while surplus > 0 and self._idle and now - self._idle[0].idle_since > self.limits.idle_timeout:
                self.supplier.discard(self._idle.popleft(), "idle")
                surplus -= 1
            self.supplier.open_missing()
