"""The connection that a session keeps: on SQLite one that only reads, until the first write."""

from __future__ import annotations

from typing import Any

from scalekit_pool.connection_lifecycle import Lent
from scalekit_pool.driver import Driver
from scalekit_pool.pool import Pool


class HeldConnection:
    """A connection of *readers*, then of *writers*; the two are the same where all connections write.

    It *is_used* when its session may have been changed, and is reset then. *streams* are being read from it.
    """

    def __init__(self, writers: Pool[Any], readers: Pool[Any]) -> None:
        self.writers = writers
        self.readers = readers
        self.lent: Lent[Any] | None = None
        self.is_used = False
        self.streams = 0
        self._source = readers
        self._may_write = False
        self._set_aside: Lent[Any] | None = None

    @property
    def connection(self) -> Any:
        """The driver's own connection; raises RuntimeError when it was given back."""
        if self.lent is None:
            raise RuntimeError("this connection was given back; write `async with database.connection() as ...:`")
        return self.lent.connection

    @property
    def only_reads(self) -> bool:
        """Whether a write needs another one."""
        return self._source is not self.writers and not self._may_write

    def keep(self, lent: Lent[Any], pool: Pool[Any]) -> None:
        """Keep *lent*, which came from *pool*."""
        if self.lent is not None:
            self._set_aside = self.lent
        self.lent, self._source = lent, pool

    async def go_on_with(self, pool: Pool[Any]) -> None:
        """Take one of *pool* instead; others may have this one meanwhile, unless rows are still read from it."""
        if self.lent is not None and not self.streams:
            self.put_back()
        self.keep(pool.take() or await pool.acquire(), pool)

    def let_write(self, driver: Driver) -> None:
        """Go on with one that writes if one is idle, else let this one write, beside the one that does."""
        lent = self.writers.take()
        if lent is None:
            driver.let_write(self.connection)
            self._may_write = self.is_used = True
            return
        if not self.streams:
            self.put_back()
        self.keep(lent, self.writers)

    def put_back(self) -> None:
        """Give it back."""
        for lent, pool in ((self.lent, self._source), (self._set_aside, self.readers)):
            if lent is not None:
                (pool.release_used if self.is_used else pool.release)(lent)
        self.lent = self._set_aside = None
        self.is_used = self._may_write = False
