"""Defaults of SQLAlchemy tables that are evaluated in Python, for rows that bulk inserts send without SQLAlchemy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Column, Table
from sqlalchemy.engine.interfaces import Dialect

from scalekit.contracts import Values
from scalekit_pool.connections.driver import Untyped, Value

Default = Callable[["RowContext"], Value]


class RowContext:
    """The context that a callable default receives: of SQLAlchemy's execution context, the values of its row."""

    def __init__(self, dialect: Dialect, column: Column[Any], values: Mapping[str, Value]) -> None:
        self.dialect = dialect
        self.current_column = column
        self.current_parameters = values

    def get_current_parameters(self, isolate_multiinsert_groups: bool = True) -> dict[str, Value]:
        """Return the values of the row, so far, by column."""
        return dict(self.current_parameters)


class InsertDefaults:
    """The columns of *table* with a default in Python; those with an SQL expression must be set in each row.

    It does not refer to the table, by which it is kept.
    """

    def __init__(self, table: Table, dialect: Dialect) -> None:
        self._dialect = dialect
        self._defaults: dict[str, Default] = {}
        self._expressions: set[str] = set()
        for column in table.columns:
            default: Untyped = column.default
            if default is None or _is_left_to_server(default, dialect):
                continue
            if default.is_sequence or default.is_clause_element:
                self._expressions.add(column.key)
            else:
                self._defaults[column.key] = _evaluator(default)

    def __bool__(self) -> bool:
        return bool(self._defaults or self._expressions)

    def fill(self, table: Table, rows: Sequence[Values]) -> Sequence[Values]:
        """Return *rows* of *table* with the defaults of the columns that the first one lacks.

        Raise ValueError when it lacks a column whose default is an SQL expression.
        """
        given = rows[0]
        if missing := sorted(self._expressions.difference(given)):
            raise ValueError(
                f"the default of {table.name}.{missing[0]} is an SQL expression, which bulk inserts do not evaluate: "
                "set it in each row, or use server_default"
            )
        absent = {name: default for name, default in self._defaults.items() if name not in given}
        return [self._filled(table, row, absent) for row in rows] if absent else rows

    def _filled(self, table: Table, row: Values, absent: Mapping[str, Default]) -> Values:
        values = dict(row)
        for name, default in absent.items():
            values[name] = default(RowContext(self._dialect, table.c[name], values))
        return values


def _evaluator(default: Untyped) -> Default:
    """Return the function that evaluates *default*, a scalar or a callable."""
    if default.is_callable:
        evaluate: Default = default.arg
        return evaluate
    value = default.arg
    return lambda _: value


def _is_left_to_server(default: Untyped, dialect: Dialect) -> bool:
    """Return whether *default* is a sequence that the server evaluates, or that *dialect* does not have."""
    return bool(default.is_sequence and (default.optional or not dialect.supports_sequences))
