"""Tell an observer which tables are read; what is changed is told where it comes to last."""

from __future__ import annotations

from typing import Any

from scalekit.contracts import TableObserver, Tables, Values
from scalekit_pool.asking import Language, ReadOnlyLanguage
from scalekit_pool.compiling import Call, Compiler
from scalekit_pool.driver import Driver
from scalekit_pool.statements import Reader

NOTHING: frozenset[str] = frozenset()


class ObservedLanguage(Language):
    """Tells *observer* of the tables of every call."""

    def __init__(self, driver: Driver, reader: Reader, compiler: Compiler, observer: TableObserver) -> None:
        super().__init__(driver, reader, compiler)
        self.observer = self._observer = observer

    def call(self, query: Any, values: Values | None) -> Call:
        """Return the call that *query* is, and tell what it reads."""
        call = super().call(query, values)
        self._observer.read(call.statement.used.read)
        return call


class ObservedReplicaLanguage(ReadOnlyLanguage):
    """Tells *observer* that nobody knows what is read: a replica may be behind what was written before."""

    def __init__(self, driver: Driver, reader: Reader, compiler: Compiler, observer: TableObserver) -> None:
        super().__init__(driver, reader, compiler)
        self._observer = observer

    def call(self, query: Any, values: Values | None) -> Call:
        """Return the call that *query* is, and tell that it reads."""
        self._observer.read(None)
        return super().call(query, values)


def language_of(driver: Driver, reader: Reader, compiler: Compiler, observer: TableObserver | None) -> Language:
    """Return the language of a database with *driver*, observed if anybody is interested."""
    if observer is None:
        return (ReadOnlyLanguage if driver.read_only else Language)(driver, reader, compiler)
    return (ObservedReplicaLanguage if driver.read_only else ObservedLanguage)(driver, reader, compiler, observer)


class Writes:
    """The tables that were changed on one connection, and of which *observer* has not been told yet."""

    def __init__(self, observer: TableObserver) -> None:
        self.observer = observer
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
        self.observer.read(None)

    def given_back(self) -> None:
        """Take note that the connection was given back."""
        self._unknown, self._raw = self._unknown or self._raw, False

    def take(self) -> Tables:
        """Return what was changed and has come to last."""
        tables, unknown = frozenset(self._tables), self._unknown or self._raw
        self._tables.clear()
        self._unknown = False
        return None if unknown else tables

    def take_undone(self) -> Tables:
        """Return what has come to last although all was rolled back: only what nobody knows may have."""
        return None if self.take() is None else NOTHING
