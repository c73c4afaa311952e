"""Cursors that fetch rows in chunks, as the application reads them."""

from __future__ import annotations

from collections.abc import Sequence

from scalekit_pool.connections.driver import Value
from scalekit_pool.orm.cursor import DbapiCursor

CHUNK = 100
"""Rows that a server-side cursor fetches at once, at least."""


class ServerCursor(DbapiCursor):
    """A cursor that is open until its transaction ends; a subclass fetches the next rows."""

    server_side = True

    def fetch_next(self, size: int) -> Sequence[Value]:
        """Return the next *size* rows, none after the last one."""
        raise NotImplementedError

    def fetchone(self) -> Value:
        """Return the next row, or None."""
        return next(iter(self.fetchmany(1)), None)

    def fetchmany(self, size: int | None = None) -> Sequence[Value]:
        """Return the next *size* rows."""
        wanted = self.arraysize if size is None else size
        if len(self._rows) - self._position < wanted:
            rows = self.fetch_next(max(wanted, CHUNK))
            self._rows, self._position = [*self._rows[self._position :], *rows], 0
        return super().fetchmany(wanted)

    def fetchall(self) -> Sequence[Value]:
        """Return the remaining rows."""
        rows = [*super().fetchall()]
        while found := self.fetch_next(CHUNK):
            rows += found
        return rows
