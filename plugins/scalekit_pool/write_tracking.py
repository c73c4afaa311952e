"""Track the tables that a connection writes, and report them to the table observer once the writes are committed."""

from __future__ import annotations

from scalekit.contracts import TableObserver, Tables
from scalekit_pool.driver import Failure

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
    """The tables that one connection has written and not yet reported to *observer*."""

    def __init__(self, observer: TableObserver) -> None:
        self._observer = observer
        self._tables: set[str] = set()
        self._unknown = False
        self._raw = False

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
        """End the exposure of the raw connection; what it wrote is still to be reported."""
        self._unknown, self._raw = self._unknown or self._raw, False

    async def report_committed(self) -> None:
        """Report the written tables: the writes are committed."""
        await self._observer.wrote(self._take())

    async def report_rolled_back(self) -> None:
        """Report, after a rollback, only what may have been committed all the same: writes of unknown tables."""
        await self._observer.wrote(self._take_unknown())

    def report_unknown_outcome(self) -> None:
        """Report the written tables as possibly written: the outcome of the commit is unknown."""
        self._observer.may_have_written(self._take())

    def report_abandoned(self) -> None:
        """Report what may have been committed in a transaction that its task never ended."""
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
