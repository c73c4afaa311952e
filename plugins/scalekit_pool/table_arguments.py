"""Convert the tables and rows that applications pass into names and tuples for the driver."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter

from sqlalchemy import Column, Table

from scalekit import suggest_name
from scalekit.contracts import Values
from scalekit_pool.compiler import ExpressionCompiler
from scalekit_pool.connections.driver import Arguments, TableName, Value
from scalekit_pool.rows import Convert
from scalekit_pool.statement_classifier import check_text


def table_name_of(table: object) -> TableName:
    """Return the name of *table*, a SQLAlchemy table or a text such as ``items`` or ``shop.items``."""
    if isinstance(table, Table):
        return TableName(table.schema, table.name)
    if not isinstance(table, str) or not table:
        raise ValueError(f"expected a SQLAlchemy table or a table name, got {table!r}")
    schema, _, name = table.rpartition(".")
    return TableName(schema or None, name)


def primary_key(table: object) -> str | None:
    """Return the name of the single primary-key column of *table*, or None."""
    columns = list(table.primary_key.columns) if isinstance(table, Table) else []
    return columns[0].name if len(columns) == 1 else None


def to_rows(table: object, rows: Sequence[Values], compiler: ExpressionCompiler) -> tuple[list[str], list[Arguments]]:
    """Return the columns of *rows*, and the values of each row in their order, converted for the driver.

    Columns with a default in Python are added. Raise ValueError, naming the row, when its columns differ from those of
    the first, and for a column unknown to *table*.
    """
    columns, data = list(rows[0]), _read(rows)
    filled = compiler.with_defaults(table, rows)
    if filled is not rows:
        columns, data = list(filled[0]), _read(filled)
    if not isinstance(table, Table):
        check_text(" ".join((str(table), *columns)))
        return columns, data
    found = [_column(table, name) for name in columns]
    return [column.name for column in found], _bound(data, compiler.bind_processors(found))


def _read(rows: Sequence[Values]) -> list[Arguments]:
    """Return the values of each row in the order of the columns of the first."""
    columns = list(rows[0])
    if not columns:
        raise ValueError("the rows have no columns; set at least one in each row")
    read = itemgetter(*columns) if len(columns) > 1 else lambda row: (row[columns[0]],)
    try:
        data: list[Arguments] = list(map(read, rows))
    except KeyError:
        data = []
    if not data or set(map(len, rows)) != {len(columns)}:
        _raise_column_mismatch(columns, rows)
    return data


def _raise_column_mismatch(columns: list[str], rows: Sequence[Values]) -> None:
    for number, row in enumerate(rows):
        if set(row) != set(columns):
            raise ValueError(
                f"row {number} has columns {', '.join(row)}, row 0 has {', '.join(columns)}; all rows need the same"
            )


def _column(table: Table, name: str) -> Column[Value]:
    try:
        return table.c[name]
    except KeyError:
        raise ValueError(f"table {table.name} has no column {name!r}; {suggest_name(name, table.c.keys())}") from None


def _bound(data: list[Arguments], processors: Sequence[Convert | None]) -> list[Arguments]:
    if not any(processors):
        return data
    return [
        tuple(process(value) if process else value for value, process in zip(row, processors, strict=True))
        for row in data
    ]
