"""Turn SQLAlchemy Core expressions into statements for the driver.

Compiling costs many times what running does, so what was compiled is kept under SQLAlchemy's own cache key, in which
the values of an expression are left out: the same query with other values is compiled once.
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
from scalekit_pool.statement_classifier import Reader, Statement

MOST_COMPILED = 500


class Call(NamedTuple):
    """A statement, its arguments in order, and what must be done with the columns of its rows."""

    statement: Statement
    arguments: Sequence[Any]
    processors: Sequence[Processor] = ()


@dataclass(frozen=True, slots=True)
class _Compiled:
    """What was worked out of a compiled expression."""

    statement: Statement
    names: Sequence[str]
    bind: Mapping[str, Callable[[Any], Any]]
    defaults: Sequence[Any]
    processors: Sequence[Processor]


class Compiler:
    """Compiles for one dialect."""

    def __init__(self, dialect: Dialect, reader: Reader) -> None:
        self._dialect = dialect
        self._reader = reader
        self._cache: Any = LRUCache(MOST_COMPILED)
        self._known: WeakKeyDictionary[Any, _Compiled] = WeakKeyDictionary()

    def call(self, query: ClauseElement, values: Mapping[str, Any] | None) -> Call:
        """Return the call that *query* with *values* is."""
        if isinstance(query, ExecutableDDLElement):
            return self._definition(query, values)
        expression: Any = _executable(query)
        if values:
            expression = query.values(**values) if isinstance(query, ValuesBase) else expression.params(values)
        compiled, extracted, parameters, _ = expression._compile_w_cache(
            self._dialect, compiled_cache=self._cache, column_keys=[]
        )
        found = self._known.get(compiled)
        if found is None:
            found = self._known[compiled] = self._work_out(compiled)
        arguments = compiled.construct_params(
            extracted_parameters=extracted, _collected_params=parameters, escape_names=False
        )
        for column in found.defaults:
            arguments[column.key] = _default_of(column, compiled.isinsert)
        if (
            compiled.post_compile_params or compiled.literal_execute_params
        ):  # lists and values that are part of the text
            return self._expanded(compiled, found, arguments)
        bind = found.bind
        ordered = [bind[name](arguments[name]) if name in bind else arguments[name] for name in found.names]
        return Call(found.statement, ordered, found.processors)

    def _definition(self, query: ExecutableDDLElement, values: Mapping[str, Any] | None) -> Call:
        """Return the call that *query*, such as CREATE TABLE, is; these are seldom, and not remembered."""
        if values:
            raise ValueError(f"a definition takes no values: write them into it, {', '.join(values)}: {query}")
        return Call(self._reader.as_it_is(str(query.compile(dialect=self._dialect))), ())

    def bind_processors(self, columns: Sequence[Any]) -> list[Callable[[Any], Any] | None]:
        """Return for each of *columns* what makes its value one of the driver's."""
        return [column.type._cached_bind_processor(self._dialect) for column in columns]

    def _work_out(self, compiled: SQLCompiler) -> _Compiled:
        defaults = (*compiled.insert_prefetch, *compiled.update_prefetch)
        names = tuple(compiled.positiontup or ())
        statement = self._reader.as_it_is(compiled.string)
        bind: dict[str, Any] = dict(compiled._bind_processors)
        return _Compiled(statement, names, bind, defaults, self._processors(compiled))

    def _expanded(self, compiled: SQLCompiler, found: _Compiled, arguments: Any) -> Call:
        state = compiled._process_parameters_for_postcompile(arguments)
        given = {**arguments, **state.additional_parameters}
        bind: Mapping[str, Any] = {**found.bind, **state.processors}
        ordered = [bind[name](given[name]) if name in bind else given[name] for name in state.positiontup or ()]
        return Call(self._reader.as_it_is(state.statement, found.statement.used), ordered, found.processors)

    def _processors(self, compiled: SQLCompiler) -> list[Processor]:
        found: list[Processor] = []
        for place, column in enumerate(compiled._result_columns):
            process = column.type._cached_result_processor(self._dialect, None)
            if process is not None:
                found.append((place, process))
        return found


def _executable(query: Any) -> Any:
    """Return *query* as a statement; raises TypeError where it is a part of one, or nothing of SQLAlchemy's."""
    if isinstance(query, FunctionElement):
        return query.select()
    if isinstance(query, Executable) and isinstance(query, ClauseElement):
        return query
    kind = type(query).__name__
    remedy = f"write select() around this {kind}" if isinstance(query, ClauseElement) else f"this is a {kind}"
    raise TypeError(f"a query is a text or a statement of SQLAlchemy's: {remedy}")


def _default_of(column: Any, inserted: bool) -> Any:
    default = column.default if inserted else column.onupdate
    return default.arg(None) if default.is_callable else default.arg
