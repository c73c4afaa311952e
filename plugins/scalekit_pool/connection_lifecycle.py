"""Where a pool's connections come from and go to.

Everything that takes time is done here, in tasks of its own, during which the connection counts: opening, with ever
longer pauses while it fails; mending one of which nobody knows how it is; closing.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine
from typing import Any, Generic, Protocol, TypeVar

from scalekit_pool.pool_limits import Limits

logger = logging.getLogger("scalekit.pool")

C = TypeVar("C")

FIRST_PAUSE = 0.05
"""Seconds between the first two attempts to open a connection, at most; each further pause is longer by that."""
LONGEST_PAUSE = 0.5
"""Seconds between two attempts to open a connection, at most: so soon it is noticed that a server is back."""
MEND_LIMIT = 5.0
"""Seconds that a connection may take to become as new, or to close."""


class Connector(Protocol[C]):
    """Opens, mends and closes connections of one kind."""

    async def open(self) -> C:
        """Return a new connection."""
        ...

    def works(self, connection: C) -> bool:
        """Tell whether *connection* is not known to be lost."""
        ...

    async def mend(self, connection: C) -> None:
        """Make *connection* as new; raises when that cannot be."""
        ...

    async def close(self, connection: C) -> None:
        """Close *connection*, however it is."""
        ...

    def explain(self, error: Exception) -> str:
        """Return in plain words, without secrets, why ``open`` failed."""
        ...

    async def stop(self) -> None:
        """Stop what runs beside the connections."""
        ...


class Observer(Protocol):
    """Is told what happens to connections."""

    def waited(self, seconds: float) -> None:
        """Note how long somebody waited for a connection."""
        ...

    def opened(self) -> None:
        """Count a connection that was opened."""
        ...

    def closed(self, why: str) -> None:
        """Count a connection that was closed."""
        ...

    def refused(self, why: str) -> None:
        """Count somebody who got no connection."""
        ...

    def stale(self) -> None:
        """Count a connection that was refused because its server is an old primary."""
        ...


class Lent(Generic[C]):
    """A connection and how long it may live, on the loop's clock; *epoch* is the supply's when it was opened."""

    __slots__ = ("connection", "dies", "epoch", "idle_since")

    def __init__(self, connection: C, dies: float, epoch: int) -> None:
        self.connection = connection
        self.dies = dies
        self.epoch = epoch
        self.idle_since = 0.0


class Supply(Generic[C]):
    """Up to ``limits.max_size`` connections to *what*; each that is ready is given to *offer*.

    *wanted* tells how many there should be besides those that are in use. *trouble* is why none can be opened now, and
    *opened* how many have been.
    """

    def __init__(
        self,
        what: str,
        connector: Connector[C],
        limits: Limits,
        observer: Observer,
        offer: Callable[[Lent[C]], None],
        wanted: Callable[[], int],
    ) -> None:
        self.what = what
        self.size = 0
        self.epoch = 0
        self.trouble = ""
        self.opened = 0
        self._connector = connector
        self._limits = limits
        self._observer = observer
        self._offer = offer
        self._wanted = wanted
        self._openers: set[asyncio.Task[None]] = set()
        self._others: set[asyncio.Task[None]] = set()
        self._stopped = False
        self._warned = False

    @property
    def out_of_reach(self) -> str:
        """Why there is no connection at all; empty while one is open, or nothing is known to be wrong."""
        return self.trouble if self.size <= len(self._openers) else ""

    @property
    def room(self) -> int:
        """How many connections are being opened, or could be."""
        return self._limits.max_size - self.size + len(self._openers)

    async def open_first(self) -> None:
        """Open one connection; raises what the driver raises, and goes on trying in the background then."""
        self.size += 1
        try:
            lent = await self._connect()
        except BaseException:
            self.size -= 1
            self.open_wanted(1)
            raise
        self._offer(lent)

    def open_wanted(self, least: int = 0) -> None:
        """Begin to open what is wanted, at least *least*, as far as there is room and nobody opens it already."""
        if self._stopped:
            return
        missing = max(self._wanted(), least) - len(self._openers)
        for _ in range(min(missing, self._limits.max_size - self.size)):
            self.size += 1
            self._spawn(self._open(), self._openers)

    def discard(self, lent: Lent[C], why: str) -> None:
        """Close *lent*, and open another where one is wanted."""
        self._observer.closed(why)
        self._spawn(self._close(lent), self._others)

    def mend(self, lent: Lent[C]) -> None:
        """Make *lent* as new and offer it, or close it."""
        self._spawn(self._mend(lent), self._others)

    async def stop(self) -> None:
        """Open nothing any more, and wait until all that was given back is closed."""
        self._stopped = True
        for task in self._openers:
            task.cancel()
        await self._connector.stop()
        loop = asyncio.get_running_loop()
        end = loop.time() + MEND_LIMIT
        while tasks := self._openers | self._others:  # what was mended is closed only then
            _, late = await asyncio.wait(tasks, timeout=max(0.0, end - loop.time()))
            if late:
                for task in late:
                    task.cancel()
                await asyncio.wait(late, timeout=1.0)
                return

    async def _open(self) -> None:
        """Open one connection; while that fails, one task goes on trying and the others end."""
        attempt = 0
        try:
            while True:
                try:
                    lent = await self._connect()
                    break
                except Exception:
                    self._warn()
                    if len(self._openers) > 1:
                        raise
                    attempt += 1
                await asyncio.sleep(min(FIRST_PAUSE * attempt, LONGEST_PAUSE) * random.uniform(0.5, 1.0))
        except BaseException as error:
            self.size -= 1
            if isinstance(error, asyncio.CancelledError):
                raise
            return
        finally:
            self._openers.discard(asyncio.current_task())
        self._offer(lent)
        self.open_wanted()

    async def _connect(self) -> Lent[C]:
        epoch = self.epoch
        try:
            async with asyncio.timeout(self._limits.connect_timeout):
                connection = await self._connector.open()
        except Exception as error:
            self._note_trouble(error)
            raise
        if self._warned:
            logger.warning("%s can be reached again", self.what)
        self.trouble, self._warned = "", False
        self.opened += 1
        self._observer.opened()
        life = self._limits.max_lifetime * random.uniform(0.9, 1.0)  # else all that start together end together
        return Lent(connection, asyncio.get_running_loop().time() + life, epoch)

    def _warn(self) -> None:
        """Tell of the trouble, once until it is over."""
        if not self._warned:
            self._warned = True
            logger.warning("no connection to %s: %s", self.what, self.trouble)

    def _note_trouble(self, error: Exception) -> None:
        late = type(error) is TimeoutError
        trouble = f"no answer within {self._limits.connect_timeout:g}s" if late else self._connector.explain(error)
        self.trouble = trouble

    async def _mend(self, lent: Lent[C]) -> None:
        try:
            async with asyncio.timeout(MEND_LIMIT):
                await self._connector.mend(lent.connection)
        except Exception:
            self.discard(lent, "broken")
        except BaseException:
            self.discard(lent, "stopped")
            raise
        else:
            self._offer(lent)

    async def _close(self, lent: Lent[C]) -> None:
        try:
            async with asyncio.timeout(MEND_LIMIT):
                await self._connector.close(lent.connection)
        except Exception as error:
            logger.debug("closing a connection to %s failed: %r", self.what, error)
        finally:
            self.size -= 1
            self.open_wanted()

    def _spawn(self, work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
