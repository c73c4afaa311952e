"""A compiled expression: what is the same for each call, and how the values of a call are bound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy.engine.default import DefaultExecutionContext
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.exc import CompileError
from sqlalchemy.sql.compiler import SQLCompiler

from scalekit_pool.connections.driver import Arguments, Untyped, Value
from scalekit_pool.rows import ColumnMatch, Convert, ResultColumns
from scalekit_pool.statement_classifier import Statement

_Context: Untyped = DefaultExecutionContext


class Expansion(NamedTuple):
    """A statement with a placeholder for each value of its lists, which have the names *lists*."""

    statement: Statement
    names: Sequence[str]
    bind: Mapping[str, Untyped]
    lists: Mapping[str, Sequence[str]]

    def arguments(self, values: dict[str, Value]) -> Arguments:
        """Return *values* in the order of the placeholders, converted for the driver."""
        for name, names in self.lists.items():
            values.update(zip(names, values[name], strict=True))
        return ordered(self.names, self.bind, values)


class ExpressionPlan:
    """The parts of a compiled expression that are reused for each call."""

    __slots__ = (
        "bind",
        "columns",
        "compiled",
        "has_defaults",
        "has_stable_text",
        "is_expanded",
        "lists",
        "names",
        "statement",
    )

    def __init__(self, compiled: SQLCompiler, statement: Statement, dialect: Dialect) -> None:
        self.compiled: Untyped = compiled
        self.statement = statement
        self.columns = _result_columns(compiled, dialect)
        self.names = tuple(compiled.positiontup or ())
        self.bind: Mapping[str, Untyped] = dict(compiled._bind_processors)
        self.has_defaults = bool(compiled.insert_prefetch or compiled.update_prefetch)
        self.is_expanded = bool(compiled.post_compile_params or compiled.literal_execute_params)
        self.lists = tuple(compiled.bind_names[each] for each in compiled.post_compile_params)
        self.has_stable_text = not compiled.literal_execute_params and all(
            map(_is_plain_list, compiled.post_compile_params)
        )
        """Whether the text is the same for lists of the same lengths, and for any values."""

    def shape(self, values: Mapping[str, Value]) -> Sequence[int] | None:
        """Return the lengths of the lists among *values*, or None when the text depends on more than these."""
        if not self.has_stable_text:
            return None
        try:
            return tuple([len(values[name]) for name in self.lists])
        except TypeError:  # an iterator
            return None


class DefaultContext(_Context):  # type: ignore[misc] # base from a class without types
    """The context of an execution, as defaults receive it that depend on other values of the row."""

    def __init__(self, dialect: Dialect, compiled: SQLCompiler, parameters: dict[str, Value]) -> None:
        self.dialect = dialect
        self.compiled: Any = compiled
        self.statement = compiled.string
        self.isinsert, self.isupdate = compiled.isinsert, compiled.isupdate
        self.compiled_parameters = [parameters]

    def set_defaults(self) -> None:
        """Set the defaults among the parameters of the compiled statement."""
        self._process_execute_defaults()


def ordered(names: Sequence[str], bind: Mapping[str, Untyped], values: Mapping[str, Value]) -> Arguments:
    """Return the *values* with *names*, in their order, converted for the driver."""
    return [bind[name](values[name]) if name in bind else values[name] for name in names]


def needs_statement(compiled: SQLCompiler) -> bool:
    """Return whether a default would take a statement of its own, such as ``SELECT nextval(...)``.

    It would tell SQLAlchemy the key of a table with ``implicit_returning=False``; ``insert(...).inline()`` needs none.
    """
    columns: Untyped = compiled.insert_prefetch
    return any(
        column.default is None or column.default.is_sequence or column.default.is_clause_element for column in columns
    )


def check_names(compiled: SQLCompiler, names: Sequence[str]) -> None:
    """Raise CompileError for *names* of values that are neither columns nor parameters of the statement."""
    known = {key for bind, name in compiled.bind_names.items() for key in (bind.key, name)}
    if unknown := [name for name in names if name not in known]:
        raise CompileError(f"Unconsumed column names: {', '.join(unknown)}")


def _is_plain_list(parameter: Untyped) -> bool:
    """Return whether the values of the list *parameter* are no part of the text, and no tuples."""
    kind = parameter.type
    return not (parameter.literal_execute or kind._is_tuple_type or kind._isnull)


def _result_columns(compiled: SQLCompiler, dialect: Dialect) -> ResultColumns | None:
    """Return the columns that SQLAlchemy knows, or None."""
    if not compiled._result_columns:
        return None
    columns: list[tuple[str, Convert | None]] = []
    aliases: list[tuple[str, Convert | None]] = []
    for name, _, objects, kind in compiled._result_columns:
        process = kind._cached_result_processor(dialect, None)
        columns.append((name, process))
        aliases.extend((each, process) for each in objects if isinstance(each, str))
    return ResultColumns(columns, _column_match(compiled), aliases if compiled._loose_column_name_matching else ())


def _column_match(compiled: SQLCompiler) -> ColumnMatch:
    if compiled._textual_ordered_columns:
        return ColumnMatch.TEXT_PLACE
    if compiled._ordered_columns:
        return ColumnMatch.PLACE
    return ColumnMatch.TEXT_AMONG_COLUMNS if compiled._ad_hoc_textual else ColumnMatch.NAME
