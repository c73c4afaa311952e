"""The connection of a session: on SQLite a read-only one until the first write."""

from __future__ import annotations

from collections.abc import Sequence

from scalekit_pool.compiler import BoundStatement
from scalekit_pool.connections.driver import SCHEMA_CHANGES, Driver, Failure, Operation, RawConnection, T
from scalekit_pool.connections.lifecycle import PooledConnection
from scalekit_pool.connections.pool import ConnectionPool
from scalekit_pool.leak_detection import CallSite


class SessionConnection:
    """A connection of *readers*, replaced by one of *writers* for the first write; both pools may be the same.

    The connection *is_dirty* when its session state may have changed: the pool then resets it before its next use.
    *streams* counts the open cursors. *acquired_at* is the code that uses the session.
    """

    def __init__(self, writers: ConnectionPool[RawConnection], readers: ConnectionPool[RawConnection]) -> None:
        self.writers = writers
        self.readers = readers
        self.pooled: PooledConnection[RawConnection] | None = None
        self.is_dirty = False
        self.streams = 0
        self.acquired_at: Sequence[CallSite] = ()
        self._source = readers
        self._may_write = False
        self._previous: PooledConnection[RawConnection] | None = None

    @property
    def raw(self) -> RawConnection:
        """The driver's connection; raises RuntimeError after the release."""
        if self.pooled is None:
            raise RuntimeError("this connection was released; write `async with database.connection() as ...:`")
        return self.pooled.connection

    @property
    def is_read_only(self) -> bool:
        """Whether a write needs another connection."""
        return self._source is not self.writers and not self._may_write

    def attach(self, pooled: PooledConnection[RawConnection], pool: ConnectionPool[RawConnection]) -> None:
        """Use *pooled*, a connection of *pool*."""
        if self.pooled is not None:
            self._previous = self.pooled
        self.pooled, self._source = pooled, pool
        pool.hold(pooled, self.acquired_at)

    async def switch_to(self, pool: ConnectionPool[RawConnection]) -> None:
        """Use a connection of *pool* instead, and release the current one unless a cursor is open on it."""
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
                pool.unhold(pooled)
                (pool.reset_and_release if self.is_dirty else pool.release)(pooled)
        self.pooled = self._previous = None
        self.is_dirty = self._may_write = False


async def run_with_schema_retry(
    driver: Driver, connection: RawConnection, operation: Operation[T], bound: BoundStatement, in_transaction: bool
) -> T:
    """Run *bound*; after a schema change run it again, unless it was executed or its transaction was rolled back."""
    statement = bound.statement
    try:
        result = await operation(connection, statement.sql, bound.arguments)
    except Exception as error:
        failure = driver.classify_error(error, connection)
        if failure not in SCHEMA_CHANGES:
            raise
        await driver.reload_schema(connection)
        if in_transaction or (failure is Failure.RESULT_CHANGED and not statement.is_read_only):
            raise
        result = await operation(connection, statement.sql, bound.arguments)
    if statement.changes_schema:
        await driver.schema_changed(connection)
    return result
