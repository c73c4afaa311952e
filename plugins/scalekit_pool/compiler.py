"""Compile queries, SQL text or SQLAlchemy Core expressions, into statements for the driver.

Compiling an expression takes much longer than running a statement, so compiled statements are cached by SQLAlchemy's
cache key, which excludes the values of an expression: the same query with other values is compiled once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

from sqlalchemy import Table
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.schema import ExecutableDDLElement
from sqlalchemy.sql import ClauseElement, Executable
from sqlalchemy.sql.dml import ValuesBase
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.util import LRUCache

from scalekit import ReadOnlyError
from scalekit.contracts import TableObserver, Values
from scalekit_pool.connections.driver import Arguments, Driver, Untyped
from scalekit_pool.expression_plan import (
    DefaultContext,
    Expansion,
    ExpressionPlan,
    check_names,
    needs_statement,
    ordered,
)
from scalekit_pool.insert_defaults import InsertDefaults
from scalekit_pool.rows import Convert, ResultColumns
from scalekit_pool.statement_classifier import Statement, StatementParser
from scalekit_pool.write_tracker import NullTableObserver

MAX_COMPILED = 500

Query = str | ClauseElement
"""SQL text with ``:name`` parameters, or a SQLAlchemy expression."""


class BoundStatement(NamedTuple):
    """A statement, its positional arguments, and its columns when SQLAlchemy knows them."""

    statement: Statement
    arguments: Arguments
    columns: ResultColumns | None = None


class ExpressionCompiler:
    """Compiles expressions for one dialect."""

    def __init__(self, dialect: Dialect, parser: StatementParser) -> None:
        self._dialect = dialect
        self._parser = parser
        self._plans: LRUCache[Untyped, ExpressionPlan] = LRUCache(MAX_COMPILED)
        self._expansions: LRUCache[Untyped, Expansion] = LRUCache(MAX_COMPILED)
        self._insert_defaults: WeakKeyDictionary[Table, InsertDefaults] = WeakKeyDictionary()

    def compile(self, query: ClauseElement, values: Values | None) -> BoundStatement:
        """Return *query* bound to *values*."""
        if isinstance(query, ExecutableDDLElement):
            return self._compile_ddl(query, values)
        expression: Untyped = _executable(query)
        names: tuple[str, ...] = ()
        if values:
            if isinstance(expression, ValuesBase) and any(isinstance(each, ClauseElement) for each in values.values()):
                expression, values = expression.values(**values), None
            else:
                names = tuple(sorted(values))
        key = expression._generate_cache_key()
        plan = None if key is None else self._plans.get((key[0], names))
        if plan is None:
            plan = self._plan(expression, key, names)
        extracted, collected = (None, None) if key is None else (key[1], key[2])
        arguments = plan.compiled.construct_params(
            values, extracted_parameters=extracted, _collected_params=collected, escape_names=False
        )
        if plan.has_defaults:
            DefaultContext(self._dialect, plan.compiled, arguments).set_defaults()
        if plan.is_expanded:
            return self._expand(plan, arguments)
        return BoundStatement(plan.statement, ordered(plan.names, plan.bind, arguments), plan.columns)

    def _compile_ddl(self, query: ExecutableDDLElement, values: Values | None) -> BoundStatement:
        """Return a DDL statement such as CREATE TABLE; these are rare, and not cached."""
        if values:
            raise ValueError(f"DDL takes no values: write {', '.join(values)} into it: {query}")
        return BoundStatement(self._parser.parse_native(str(query.compile(dialect=self._dialect))), ())

    def bind_processors(self, columns: Sequence[Untyped]) -> list[Convert | None]:
        """Return for each of *columns* the function that converts a value for the driver, or None."""
        return [column.type._cached_bind_processor(self._dialect) for column in columns]

    def with_defaults(self, table: object, rows: Sequence[Values]) -> Sequence[Values]:
        """Return *rows* with the defaults of *table* that are evaluated in Python, if it is a SQLAlchemy table."""
        if not isinstance(table, Table):
            return rows
        defaults = self._insert_defaults.get(table)
        if defaults is None:
            defaults = self._insert_defaults[table] = InsertDefaults(table, self._dialect)
        return defaults.fill(table, rows) if defaults else rows

    def _plan(self, expression: Untyped, key: Untyped, names: tuple[str, ...]) -> ExpressionPlan:
        """Compile *expression*, which receives values with *names*, and cache it when it has a *key*."""
        compiled = self._compile(expression, key, names)
        if needs_statement(compiled):
            inline = expression.inline()
            compiled = self._compile(inline, key and inline._generate_cache_key(), names)
        if isinstance(expression, ValuesBase):
            check_names(compiled, names)
        plan = ExpressionPlan(compiled, self._parser.parse_native(compiled.string), self._dialect)
        if key is None:
            plan.has_stable_text = False
        else:
            self._plans[key[0], names] = plan
        return plan

    def _compile(self, expression: Untyped, key: Untyped, names: tuple[str, ...]) -> Untyped:
        return expression._compiler(
            self._dialect, cache_key=key, column_keys=list(names), for_executemany=False, schema_translate_map=None
        )

    def _expand(self, plan: ExpressionPlan, values: Untyped) -> BoundStatement:
        """Return *plan* with a placeholder for each value of a list, and with literal values in its text."""
        shape = plan.shape(values)
        expansion = None if shape is None else self._expansions.get((plan, shape))
        if expansion is not None:
            return BoundStatement(expansion.statement, expansion.arguments(values), plan.columns)
        state = plan.compiled._process_parameters_for_postcompile(values)
        statement = self._parser.parse_native(state.statement, plan.statement.tables)
        bind: Mapping[str, Untyped] = {**plan.bind, **state.processors}
        if shape is not None:
            lists = {name: state.parameter_expansion[name] for name in plan.lists}
            self._expansions[plan, shape] = Expansion(statement, tuple(state.positiontup), bind, lists)
        return BoundStatement(statement, ordered(state.positiontup, bind, state.parameters), plan.columns)


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


def _executable(query: object) -> Untyped:
    """Return *query* as a statement; raise TypeError when it is only a part of one, or no SQLAlchemy expression."""
    if isinstance(query, FunctionElement):
        return query.select()
    if isinstance(query, Executable) and isinstance(query, ClauseElement):
        return query
    kind = type(query).__name__
    remedy = f"wrap this {kind} in select()" if isinstance(query, ClauseElement) else f"got {kind}"
    raise TypeError(f"a query must be SQL text or a SQLAlchemy statement: {remedy}")
