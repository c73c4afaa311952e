"""Compile queries, SQL text or SQLAlchemy Core expressions, into statements for the driver.

Compiling an expression takes much longer than running a statement, so compiled statements are cached by SQLAlchemy's
cache key, which excludes the values of an expression: the same query with other values is compiled once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from weakref import WeakKeyDictionary

from sqlalchemy.dialects.sqlite import pysqlite
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.schema import ExecutableDDLElement
from sqlalchemy.sql import ClauseElement, Executable
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import ValuesBase
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.util import LRUCache

from scalekit import ReadOnlyError
from scalekit.contracts import TableObserver, Values
from scalekit_pool.connections.driver import Arguments, Driver, Untyped, Value
from scalekit_pool.rows import Convert, Processor
from scalekit_pool.statement_classifier import Statement, StatementParser
from scalekit_pool.write_tracking import NullTableObserver

MAX_COMPILED = 500

Query = str | ClauseElement
"""SQL text with ``:name`` parameters, or a SQLAlchemy expression."""


class BoundStatement(NamedTuple):
    """A statement, its positional arguments, and the result processors of its columns."""

    statement: Statement
    arguments: Arguments
    processors: Sequence[Processor] = ()


@dataclass(frozen=True, slots=True)
class _Compiled:
    """The parts of a compiled expression that are reused for each call."""

    statement: Statement
    names: Sequence[str]
    bind: Mapping[str, Convert]
    defaults: Sequence[Untyped]
    processors: Sequence[Processor]


class ExpressionCompiler:
    """Compiles expressions for one dialect."""

    def __init__(self, dialect: Dialect, parser: StatementParser) -> None:
        self._dialect = dialect
        self._parser = parser
        self._cache: LRUCache[Untyped, Untyped] = LRUCache(MAX_COMPILED)
        self._analyzed: WeakKeyDictionary[Untyped, _Compiled] = WeakKeyDictionary()

    def compile(self, query: ClauseElement, values: Values | None) -> BoundStatement:
        """Return *query* bound to *values*."""
        if isinstance(query, ExecutableDDLElement):
            return self._compile_ddl(query, values)
        expression: Untyped = _executable(query)
        if values:
            expression = query.values(**values) if isinstance(query, ValuesBase) else expression.params(values)
        compiled, extracted, parameters, _ = expression._compile_w_cache(
            self._dialect, compiled_cache=self._cache, column_keys=[]
        )
        found = self._analyzed.get(compiled)
        if found is None:
            found = self._analyzed[compiled] = self._analyze(compiled)
        arguments = compiled.construct_params(
            extracted_parameters=extracted, _collected_params=parameters, escape_names=False
        )
        for column in found.defaults:
            arguments[column.key] = _default_of(column, compiled.isinsert)
        if compiled.post_compile_params or compiled.literal_execute_params:
            return self._expanded(compiled, found, arguments)
        bind = found.bind
        ordered = [bind[name](arguments[name]) if name in bind else arguments[name] for name in found.names]
        return BoundStatement(found.statement, ordered, found.processors)

    def _compile_ddl(self, query: ExecutableDDLElement, values: Values | None) -> BoundStatement:
        """Return a DDL statement such as CREATE TABLE; these are rare, and not cached."""
        if values:
            raise ValueError(f"DDL takes no values: write {', '.join(values)} into it: {query}")
        return BoundStatement(self._parser.parse_native(str(query.compile(dialect=self._dialect))), ())

    def bind_processors(self, columns: Sequence[Untyped]) -> list[Convert | None]:
        """Return for each of *columns* the function that converts a value for the driver, or None."""
        return [column.type._cached_bind_processor(self._dialect) for column in columns]

    def _analyze(self, compiled: SQLCompiler) -> _Compiled:
        defaults = (*compiled.insert_prefetch, *compiled.update_prefetch)
        names = tuple(compiled.positiontup or ())
        statement = self._parser.parse_native(compiled.string)
        bind: dict[str, Untyped] = dict(compiled._bind_processors)
        return _Compiled(statement, names, bind, defaults, self._processors(compiled))

    def _expanded(self, compiled: SQLCompiler, found: _Compiled, arguments: Untyped) -> BoundStatement:
        state = compiled._process_parameters_for_postcompile(arguments)
        parameters = {**arguments, **state.additional_parameters}
        bind: Mapping[str, Untyped] = {**found.bind, **state.processors}
        ordered = [
            bind[name](parameters[name]) if name in bind else parameters[name] for name in state.positiontup or ()
        ]
        return BoundStatement(
            self._parser.parse_native(state.statement, found.statement.tables), ordered, found.processors
        )

    def _processors(self, compiled: SQLCompiler) -> list[Processor]:
        found: list[Processor] = []
        for place, column in enumerate(compiled._result_columns):
            process = column.type._cached_result_processor(self._dialect, None)
            if process is not None:
                found.append((place, process))
        return found


class StatementCompiler:
    """Compiles queries into statements for *driver*; *observer* receives the tables that statements write."""

    observer: TableObserver = NullTableObserver()

    def __init__(self, driver: Driver, parser: StatementParser, expressions: ExpressionCompiler) -> None:
        self.driver = driver
        self.parser = parser
        self.expressions = expressions

    def compile(self, query: Query, values: Values | None) -> BoundStatement:
        """Return *query*, which is SQL text or a SQLAlchemy expression, bound to *values*."""
        if isinstance(query, str):
            statement = self.parser.parse(query)
            return BoundStatement(statement, statement.arguments(values))
        return self.expressions.compile(query, values)


class ReadOnlyCompiler(StatementCompiler):
    """Compiles queries of a read-only database, and refuses statements that may write."""

    def compile(self, query: Query, values: Values | None) -> BoundStatement:
        """Return *query* bound to *values*; raise ReadOnlyError when it may write."""
        bound = super().compile(query, values)
        if not bound.statement.is_read_only:
            raise ReadOnlyError(
                f"this database is read-only, and the statement may write: {bound.statement.fingerprint}"
            )
        return bound


class ObservedCompiler(StatementCompiler):
    """Reports the tables of every statement to *observer*."""

    def __init__(
        self, driver: Driver, parser: StatementParser, expressions: ExpressionCompiler, observer: TableObserver
    ) -> None:
        super().__init__(driver, parser, expressions)
        self.observer = observer

    def compile(self, query: Query, values: Values | None) -> BoundStatement:
        """Return *query* bound to *values*, and report the tables that it reads."""
        bound = super().compile(query, values)
        self.observer.read(bound.statement.tables.read)
        return bound


class ObservedReplicaCompiler(ReadOnlyCompiler):
    """Reports every read as one of unknown tables, since a replica may not have replayed earlier writes yet."""

    def __init__(
        self, driver: Driver, parser: StatementParser, expressions: ExpressionCompiler, observer: TableObserver
    ) -> None:
        super().__init__(driver, parser, expressions)
        self._observer = observer

    def compile(self, query: Query, values: Values | None) -> BoundStatement:
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


def sqlalchemy_dialect(name: str) -> Dialect:
    """Return SQLAlchemy's dialect for ``sqlite`` or ``postgresql``; SQLite needs no asyncpg."""
    if name == "sqlite":
        dialect: Dialect = pysqlite.dialect(paramstyle="qmark")
        dialect.supports_native_decimal = False
        return dialect
    from scalekit_pool.postgres.dialect import postgres_dialect

    return postgres_dialect()


def _executable(query: object) -> Untyped:
    """Return *query* as a statement; raise TypeError when it is only a part of one, or no SQLAlchemy expression."""
    if isinstance(query, FunctionElement):
        return query.select()
    if isinstance(query, Executable) and isinstance(query, ClauseElement):
        return query
    kind = type(query).__name__
    remedy = f"wrap this {kind} in select()" if isinstance(query, ClauseElement) else f"got {kind}"
    raise TypeError(f"a query must be SQL text or a SQLAlchemy statement: {remedy}")


def _default_of(column: Untyped, inserted: bool) -> Value:
    default = column.default if inserted else column.onupdate
    return default.arg(None) if default.is_callable else default.arg
