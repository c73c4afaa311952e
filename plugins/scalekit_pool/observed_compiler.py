"""Tell an observer which tables are read; what is changed is told where it comes to last, see `writes.py`."""

from __future__ import annotations

from typing import Any

from scalekit.contracts import TableObserver, Values
from scalekit_pool.compiler import Call, Compiler
from scalekit_pool.driver import Driver
from scalekit_pool.query_api import Language, ReadOnlyLanguage
from scalekit_pool.statement_classifier import Reader


class ObservedLanguage(Language):
    """Tells *observer* of the tables of every call."""

    def __init__(self, driver: Driver, reader: Reader, compiler: Compiler, observer: TableObserver) -> None:
        super().__init__(driver, reader, compiler)
        self.observer = observer

    def call(self, query: Any, values: Values | None) -> Call:
        """Return the call that *query* is, and tell what it reads."""
        call = super().call(query, values)
        self.observer.read(call.statement.used.read)
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
