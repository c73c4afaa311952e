"""A bounded set of connections that are lent and given back.

Giving back never waits, so no cancellation can come in between and lose a connection: who has one gives it back in a
plain call. Waiters are served in the order in which they came, and the connection used last is used first again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

from scalekit import Unavailable
from scalekit_pool.connection_lifecycle import Connector, Lent, Observer, Supply
from scalekit_pool.pool_limits import Limits

C = TypeVar("C")

ROUND = 1.0
"""Seconds between two looks at what is idle."""


class Pool(Generic[C]):
    """Connections to *what*, which is named in errors; open between ``start`` and ``stop``."""

    def __init__(self, what: str, connector: Connector[C], limits: Limits, observer: Observer) -> None:
        self.what = what
        self.limits = limits
        self.supply = Supply(what, connector, limits, observer, self._offer, self._wanted)
        self._observer = observer
        self._works = connector.works
        self._idle: deque[Lent[C]] = deque()
        self._waiters: deque[asyncio.Future[Lent[C]]] = deque()
        self._housekeeper: asyncio.Task[None] | None = None
        self._open = False
        self._forsaken = -ROUND

    @property
    def idle(self) -> int:
        """How many connections nobody uses."""
        return len(self._idle)

    @property
    def waiting(self) -> int:
        """How many tasks wait for a connection."""
        return len(self._waiters)

    async def start(self) -> None:
        """Open the first connections; raises what the driver raises for the first, and tries on in the background."""
        self._loop = asyncio.get_running_loop()
        self._open = True
        self._housekeeper = asyncio.create_task(self._keep_house(), name=f"scalekit: pool of {self.what}")
        await self.supply.open_first()
        self.supply.open_wanted()

    async def stop(self) -> None:
        """Close everything; who waits is refused."""
        self._open = False
        if self._housekeeper is not None:
            self._housekeeper.cancel()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(Unavailable(f"the pool of {self.what} has stopped"))
        self._waiters.clear()
        while self._idle:
            self.supply.discard(self._idle.popleft(), "stopped")
        await self.supply.stop()
        if self._housekeeper is not None:
            await asyncio.wait({self._housekeeper})

    def take(self) -> Lent[C] | None:
        """Return a connection that is idle now, or None; nobody is overtaken."""
        idle = self._idle
        if not idle or self._waiters:
            return None
        now = self._loop.time()
        while idle:
            lent = idle.pop()
            if self._works(lent.connection) and lent.dies > now:
                return lent
            self._retire(lent)
        return None

    async def acquire(self) -> Lent[C]:
        """Return a connection; raises Unavailable when there is none in time, or too many wait already."""
        lent = self.take()
        if lent is not None:
            return lent
        if not self._open:
            raise Unavailable(f"the pool of {self.what} is not open")
        if len(self._waiters) >= max(self.limits.max_waiting, self.supply.room):
            self._observer.refused("full")
            raise Unavailable(f"{len(self._waiters)} wait for a connection to {self.what} already; {self._because()}")
        return await self._wait()

    def release(self, lent: Lent[C]) -> None:
        """Take back a connection that is as it was."""
        if not self._open:
            self.supply.discard(lent, "stopped")
        elif lent.epoch != self.supply.epoch:
            self.supply.discard(lent, "outdated")
        elif not self._works(lent.connection):
            self.supply.discard(lent, "lost")
        else:
            self._offer(lent)

    def release_used(self, lent: Lent[C]) -> None:
        """Take back a connection of which nobody knows how it is: it is mended first."""
        if self._open and self._works(lent.connection) and lent.epoch == self.supply.epoch:
            self.supply.mend(lent)
        else:
            self.release(lent)

    def renew(self) -> None:
        """Close every connection, those in use when they come back, and open new ones instead."""
        self.supply.epoch += 1
        while self._idle:
            self.supply.discard(self._idle.popleft(), "outdated")

    def forsake(self) -> None:
        """Renew, for the server takes no writes; seldom, for it may take none on new connections either."""
        now = self._loop.time()
        if now - self._forsaken >= ROUND:
            self._forsaken = now
            self.renew()

    async def _wait(self) -> Lent[C]:
        waiter: asyncio.Future[Lent[C]] = self._loop.create_future()
        self._waiters.append(waiter)
        self.supply.open_wanted()
        began = self._loop.time()
        timer = self._loop.call_later(self.limits.acquire_timeout, self._give_up, waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.release(waiter.result())  # it came in the same moment
            raise
        finally:
            timer.cancel()
            self._observer.waited(self._loop.time() - began)
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def _give_up(self, waiter: asyncio.Future[Lent[C]]) -> None:
        if not waiter.done():
            self._observer.refused("late")
            limit = self.limits.acquire_timeout
            waiter.set_exception(Unavailable(f"no connection to {self.what} within {limit:g}s; {self._because()}"))

    def _because(self) -> str:
        return self.supply.trouble or f"all {self.supply.size} are in use"

    def _offer(self, lent: Lent[C]) -> None:
        """Hand *lent* to who has waited longest, else keep it."""
        if not self._open:
            self.supply.discard(lent, "stopped")
            return
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(lent)
                return
        lent.idle_since = self._loop.time()
        self._idle.append(lent)

    def _wanted(self) -> int:
        """Return how many connections should be opened."""
        return max(len(self._waiters), self.limits.min_size - self.supply.size)

    def _retire(self, lent: Lent[C]) -> None:
        self.supply.discard(lent, "lifetime" if self._works(lent.connection) else "lost")

    async def _keep_house(self) -> None:
        """Close what has been idle or alive for too long, or is lost, and keep the least number open."""
        while True:
            await asyncio.sleep(ROUND)
            now = self._loop.time()
            for lent in [each for each in self._idle if each.dies <= now or not self._works(each.connection)]:
                self._idle.remove(lent)
                self._retire(lent)
            surplus = self.supply.size - self.limits.min_size
            while surplus > 0 and self._idle and now - self._idle[0].idle_since > self.limits.idle_timeout:
                self.supply.discard(self._idle.popleft(), "idle")
                surplus -= 1
            self.supply.open_wanted()
