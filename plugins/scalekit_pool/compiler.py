"""Compile SQLAlchemy Core expressions into statements for the driver.

Compiling takes much longer than running a statement, so compiled statements are cached by SQLAlchemy's cache key, which
excludes the values of an expression: the same query with other values is compiled once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.schema import ExecutableDDLElement
from sqlalchemy.sql import ClauseElement, Executable
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import ValuesBase
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.util import LRUCache

from scalekit_pool.rows import Processor
from scalekit_pool.statement_classifier import Statement, StatementParser

MAX_COMPILED = 500


class BoundStatement(NamedTuple):
    """A statement, its positional arguments, and the result processors of its columns."""

    statement: Statement
    arguments: Sequence[Any]
    processors: Sequence[Processor] = ()


@dataclass(frozen=True, slots=True)
class _Compiled:
    """The parts of a compiled expression that are reused for each call."""

    statement: Statement
    names: Sequence[str]
    bind: Mapping[str, Callable[[Any], Any]]
    defaults: Sequence[Any]
    processors: Sequence[Processor]


class ExpressionCompiler:
    """Compiles expressions for one dialect."""

    def __init__(self, dialect: Dialect, parser: StatementParser) -> None:
        self._dialect = dialect
        self._parser = parser
        self._cache: Any = LRUCache(MAX_COMPILED)
        self._known: WeakKeyDictionary[Any, _Compiled] = WeakKeyDictionary()

    def compile(self, query: ClauseElement, values: Mapping[str, Any] | None) -> BoundStatement:
        """Return *query* bound to *values*."""
        if isinstance(query, ExecutableDDLElement):
            return self._compile_ddl(query, values)
        expression: Any = _executable(query)
        if values:
            expression = query.values(**values) if isinstance(query, ValuesBase) else expression.params(values)
        compiled, extracted, parameters, _ = expression._compile_w_cache(
            self._dialect, compiled_cache=self._cache, column_keys=[]
        )
        found = self._known.get(compiled)
        if found is None:
            found = self._known[compiled] = self._analyze(compiled)
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

    def _compile_ddl(self, query: ExecutableDDLElement, values: Mapping[str, Any] | None) -> BoundStatement:
        """Return a DDL statement such as CREATE TABLE; these are rare, and not cached."""
        if values:
            raise ValueError(f"DDL takes no values: write {', '.join(values)} into it: {query}")
        return BoundStatement(self._parser.parse_native(str(query.compile(dialect=self._dialect))), ())

    def bind_processors(self, columns: Sequence[Any]) -> list[Callable[[Any], Any] | None]:
        """Return for each of *columns* the function that converts a value for the driver, or None."""
        return [column.type._cached_bind_processor(self._dialect) for column in columns]

    def _analyze(self, compiled: SQLCompiler) -> _Compiled:
        defaults = (*compiled.insert_prefetch, *compiled.update_prefetch)
        names = tuple(compiled.positiontup or ())
        statement = self._parser.parse_native(compiled.string)
        bind: dict[str, Any] = dict(compiled._bind_processors)
        return _Compiled(statement, names, bind, defaults, self._processors(compiled))

    def _expanded(self, compiled: SQLCompiler, found: _Compiled, arguments: Any) -> BoundStatement:
        state = compiled._process_parameters_for_postcompile(arguments)
        parameters = {**arguments, **state.additional_parameters}
        bind: Mapping[str, Any] = {**found.bind, **state.processors}
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


def _executable(query: Any) -> Any:
    """Return *query* as a statement; raise TypeError when it is only a part of one, or no SQLAlchemy expression."""
    if isinstance(query, FunctionElement):
        return query.select()
    if isinstance(query, Executable) and isinstance(query, ClauseElement):
        return query
    kind = type(query).__name__
    remedy = f"wrap this {kind} in select()" if isinstance(query, ClauseElement) else f"got {kind}"
    raise TypeError(f"a query must be SQL text or a SQLAlchemy statement: {remedy}")


def _default_of(column: Any, inserted: bool) -> Any:
    default = column.default if inserted else column.onupdate
    return default.arg(None) if default.is_callable else default.arg
