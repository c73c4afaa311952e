"""Track the writes of a connection: report their tables after the commit, and mark the client as having written."""

from __future__ import annotations

from scalekit.contracts import CONSISTENCY, Consistency, TableObserver, Tables
from scalekit_pool.connections.driver import Failure

NO_TABLES: frozenset[str] = frozenset()


class NullTableObserver:
    """A table observer that does nothing."""

    def read(self, tables: Tables) -> None:
        """Do nothing."""

    async def wrote(self, tables: Tables) -> None:
        """Do nothing."""

    def may_have_written(self, tables: Tables) -> None:
        """Do nothing."""


class WriteTracker:
    """The writes of one connection: its tables that are not yet reported to *observer*, and whether one is pending."""

    def __init__(self, observer: TableObserver) -> None:
        self._observer = observer
        self._tables: set[str] = set()
        self._unknown = False
        self._raw = False
        self._pending: Consistency | None = None

    def mark(self, in_transaction: bool) -> None:
        """Record for read-your-writes consistency that the client writes, pending until the end of a transaction."""
        consistency = CONSISTENCY.get()
        if consistency is None:
            return
        if not in_transaction:
            consistency.wrote = True
        elif self._pending is None:
            consistency.pending += 1
            self._pending = consistency

    def end_pending(self) -> None:
        """Record for consistency that the pending write is committed, possibly committed, or undone."""
        if self._pending is not None:
            self._pending.pending -= 1
            self._pending.wrote = True
            self._pending = None

    def add(self, tables: Tables) -> None:
        """Add *tables* to those that are written."""
        if tables is None:
            self._unknown = True
        else:
            self._tables |= tables

    def raw_connection_exposed(self) -> None:
        """Count every table as read and written until the connection is returned to the pool."""
        self._raw = True
        self._observer.read(None)

    def connection_returned(self) -> None:
        """End the exposure of the raw connection; its writes are still to be reported."""
        self._unknown, self._raw = self._unknown or self._raw, False

    async def report_committed(self) -> None:
        """Report the written tables: the writes are committed."""
        await self._observer.wrote(self._take())

    async def report_rolled_back(self) -> None:
        """Report, after a rollback, only writes of unknown tables, which may have been committed all the same."""
        await self._observer.wrote(self._take_unknown())

    def report_unknown_outcome(self) -> None:
        """Report the written tables as possibly written: the outcome of the commit is unknown."""
        self._observer.may_have_written(self._take())

    def report_abandoned(self) -> None:
        """Report the writes that a transaction which its task never ended may have committed."""
        self._observer.may_have_written(self._take_unknown())

    def _take(self) -> Tables:
        tables, unknown = frozenset(self._tables), self._unknown or self._raw
        self._tables.clear()
        self._unknown = False
        return None if unknown else tables

    def _take_unknown(self) -> Tables:
        """Return None when unknown tables were written, else no tables; forget the tables in both cases."""
        return None if self._take() is None else NO_TABLES


async def report_failed_statement(observer: TableObserver, failure: Failure, tables: Tables) -> None:
    """Report that a statement outside a transaction, which failed with *failure*, may have written *tables*."""
    if failure is Failure.STATEMENT:
        await observer.wrote(tables)  # SQLite's OR FAIL keeps the rows written before the failure
    else:
        observer.may_have_written(tables)
