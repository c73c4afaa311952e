"""Report to the table observer which tables each statement reads; `write_tracking` reports those it writes."""

from __future__ import annotations

from typing import Any

from scalekit.contracts import TableObserver, Values
from scalekit_pool.compiler import BoundStatement, ExpressionCompiler
from scalekit_pool.driver import Driver
from scalekit_pool.query_api import ReadOnlyCompiler, StatementCompiler
from scalekit_pool.statement_classifier import StatementParser


class ObservedCompiler(StatementCompiler):
    """Reports the tables of every statement to *observer*."""

    def __init__(
        self, driver: Driver, parser: StatementParser, expressions: ExpressionCompiler, observer: TableObserver
    ) -> None:
        super().__init__(driver, parser, expressions)
        self.observer = observer

    def compile(self, query: Any, values: Values | None) -> BoundStatement:
        """Return *query* bound to *values*, and report the tables that it reads."""
        bound = super().compile(query, values)
        self.observer.read(bound.statement.tables.read)
        return bound


class ObservedReplicaCompiler(ReadOnlyCompiler):
    """Reports every read as one of unknown tables: a replica may not have replayed earlier writes yet."""

    def __init__(
        self, driver: Driver, parser: StatementParser, expressions: ExpressionCompiler, observer: TableObserver
    ) -> None:
        super().__init__(driver, parser, expressions)
        self._observer = observer

    def compile(self, query: Any, values: Values | None) -> BoundStatement:
        """Return *query* bound to *values*, and report a read of unknown tables."""
        self._observer.read(None)
        return super().compile(query, values)


def create_compiler(
    driver: Driver, parser: StatementParser, expressions: ExpressionCompiler, observer: TableObserver | None
) -> StatementCompiler:
    """Return the statement compiler of a database with *driver*, observed when there is an *observer*."""
    if observer is None:
        return (ReadOnlyCompiler if driver.read_only else StatementCompiler)(driver, parser, expressions)
    return (ObservedReplicaCompiler if driver.read_only else ObservedCompiler)(driver, parser, expressions, observer)
