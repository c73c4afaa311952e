"""The cursor of our SQLAlchemy dialects (PEP 249), which a subclass completes for a driver."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from scalekit_pool.connections.driver import Arguments, Operation, RawConnection, T, Value
from scalekit_pool.session import PooledSession

if TYPE_CHECKING:
    from scalekit_pool.orm.dbapi import DbapiConnection


class DbapiCursor:
    """Runs statements on *connection*, and has the rows of the last one; a subclass knows the driver.

    *server* is the server that the statement asks for, ``primary`` or ``replica``, and None without a wish. *template*
    is the text that the statement was expanded from, by its number of values or rows, else empty.
    """

    server_side = False
    reads_apart = False
    """Whether it reads by a connection of its own, outside a transaction."""
    held: PooledSession | None = None
    """The connection of its own, until the cursor is closed or the transaction ends."""
    lastrowid: int | None = None

    def __init__(self, connection: DbapiConnection) -> None:
        self.arraysize = 1
        self.rowcount = -1
        self.description: Sequence[tuple[Value, ...]] | None = None
        self.server: str | None = None
        self.template = ""
        self._connection = connection
        self._rows: Sequence[Value] = ()
        self._position = 0

    async def fetch(self, raw: RawConnection, sql: str, arguments: Arguments) -> Sequence[Value]:
        """Run *sql* on *raw*; set description, rowcount and lastrowid, and return the rows."""
        raise NotImplementedError

    async def fetch_many(self, raw: RawConnection, sql: str, arguments: Arguments) -> None:
        """Run *sql* on *raw* once for each of *arguments*; set rowcount where the driver returns it."""
        raise NotImplementedError

    def execute(self, operation: str, parameters: Arguments | None = None) -> None:
        """Run *operation*, and fetch its rows."""
        self._rows, self._position = self._run(self.fetch, operation, parameters or ()), 0

    def executemany(self, operation: str, seq_of_parameters: Sequence[Arguments]) -> None:
        """Run *operation* once for each of *seq_of_parameters*."""
        self._rows, self.description = (), None
        self._run(self.fetch_many, operation, seq_of_parameters)

    def fetchone(self) -> Value:
        """Return the next row, or None."""
        position = self._position
        if position >= len(self._rows):
            return None
        self._position = position + 1
        return self._rows[position]

    def fetchmany(self, size: int | None = None) -> Sequence[Value]:
        """Return the next *size* rows."""
        position = self._position
        rows = self._rows[position : position + (self.arraysize if size is None else size)]
        self._position = position + len(rows)
        return rows

    def fetchall(self) -> Sequence[Value]:
        """Return the remaining rows."""
        rows = self._rows[self._position :] if self._position else self._rows
        self._rows, self._position = (), 0
        return rows

    def close(self) -> None:
        """Discard the rows, and release the connection of its own."""
        self._rows = ()
        self.release(dirty=True)  # the driver's cursor may still be open

    def release(self, *, dirty: bool) -> None:
        """Release the connection of its own; the pool resets it when it is *dirty*."""
        if self.held is not None:
            held, self.held = self.held, None
            self._connection.forget(self)
            held.leave(dirty=dirty)

    async def _async_soft_close(self) -> None:
        """Do nothing: no cursor of the driver is open."""

    def _run(self, operation: Operation[T], sql: str, arguments: Arguments) -> T:
        connection = self._connection
        return connection.wait(connection.run, operation, sql, arguments, self)
