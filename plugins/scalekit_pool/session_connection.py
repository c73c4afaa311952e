"""The connection of a session: on SQLite a read-only one until the first write."""

from __future__ import annotations

from typing import Any

from scalekit_pool.connection_lifecycle import PooledConnection
from scalekit_pool.driver import Driver
from scalekit_pool.pool import ConnectionPool


class SessionConnection:
    """A connection of *readers*, replaced by one of *writers* for the first write; both pools may be the same.

    The connection *is_dirty* when its session state may have changed: the pool then resets it before its next use.
    *streams* counts the open cursors.
    """

    def __init__(self, writers: ConnectionPool[Any], readers: ConnectionPool[Any]) -> None:
        self.writers = writers
        self.readers = readers
        self.pooled: PooledConnection[Any] | None = None
        self.is_dirty = False
        self.streams = 0
        self._source = readers
        self._may_write = False
        self._previous: PooledConnection[Any] | None = None

    @property
    def raw(self) -> Any:
        """The driver's connection; raises RuntimeError after the release."""
        if self.pooled is None:
            raise RuntimeError("this connection was released; write `async with database.connection() as ...:`")
        return self.pooled.connection

    @property
    def is_read_only(self) -> bool:
        """Whether a write needs another connection."""
        return self._source is not self.writers and not self._may_write

    def attach(self, pooled: PooledConnection[Any], pool: ConnectionPool[Any]) -> None:
        """Use *pooled*, a connection of *pool*."""
        if self.pooled is not None:
            self._previous = self.pooled
        self.pooled, self._source = pooled, pool

    async def switch_to(self, pool: ConnectionPool[Any]) -> None:
        """Use a connection of *pool* instead, and release the present one unless a cursor is open on it."""
        if self.pooled is not None and not self.streams:
            self.release()
        self.attach(pool.acquire_nowait() or await pool.acquire(), pool)

    def enable_writes(self, driver: Driver) -> None:
        """Switch to an idle writer, or let this connection write beside the busy one."""
        pooled = self.writers.acquire_nowait()
        if pooled is None:
            driver.enable_writes(self.raw)
            self._may_write = self.is_dirty = True
            return
        if not self.streams:
            self.release()
        self.attach(pooled, self.writers)

    def release(self) -> None:
        """Release the connection, to be reset when it is dirty."""
        for pooled, pool in ((self.pooled, self._source), (self._previous, self.readers)):
            if pooled is not None:
                (pool.reset_and_release if self.is_dirty else pool.release)(pooled)
        self.pooled = self._previous = None
        self.is_dirty = self._may_write = False
