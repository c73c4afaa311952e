"""Which tables were changed on a connection, and whom that is told."""

from __future__ import annotations

from scalekit.contracts import TableObserver, Tables
from scalekit_pool.driver import Failure

NOTHING: frozenset[str] = frozenset()


class Nobody:
    """An observer who does not care."""

    def read(self, tables: Tables) -> None:
        """Do nothing."""

    async def wrote(self, tables: Tables) -> None:
        """Do nothing."""

    def may_have_written(self, tables: Tables) -> None:
        """Do nothing."""


class Writes:
    """The tables that were changed on one connection, and of which *observer* has not been told yet."""

    def __init__(self, observer: TableObserver) -> None:
        self._observer = observer
        self._tables: set[str] = set()
        self._unknown = False
        self._raw = False

    def add(self, tables: Tables) -> None:
        """Take note that *tables* are being changed."""
        if tables is None:
            self._unknown = True
        else:
            self._tables |= tables

    def lend_raw(self) -> None:
        """Take note that from now on anything may be changed, until the connection is given back."""
        self._raw = True
        self._observer.read(None)

    def given_back(self) -> None:
        """Take note that the connection was given back."""
        self._unknown, self._raw = self._unknown or self._raw, False

    async def tell(self) -> None:
        """Tell which tables were changed, now that it has come to last."""
        await self._observer.wrote(self._take())

    async def tell_undone(self) -> None:
        """Tell what may have come to last although all that is known was rolled back."""
        await self._observer.wrote(self._take_undone())

    def tell_doubtful(self) -> None:
        """Tell which tables may have been changed; nobody knows whether it has come to last, or will."""
        self._observer.may_have_written(self._take())

    def tell_abandoned(self) -> None:
        """Tell what may have come to last of what nobody has ended."""
        self._observer.may_have_written(self._take_undone())

    def _take(self) -> Tables:
        tables, unknown = frozenset(self._tables), self._unknown or self._raw
        self._tables.clear()
        self._unknown = False
        return None if unknown else tables

    def _take_undone(self) -> Tables:
        """Return what has come to last although all was rolled back: only what nobody knows may have."""
        return None if self._take() is None else NOTHING


async def tell_failed(observer: TableObserver, failure: Failure, tables: Tables) -> None:
    """Tell *observer* that a statement by itself, which ended with *failure*, may have changed *tables*."""
    if failure is Failure.STATEMENT:
        await observer.wrote(tables)  # SQLite's OR FAIL leaves what came before the failure
    else:
        observer.may_have_written(tables)
