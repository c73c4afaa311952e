"""Turn rows of selected columns into nested dictionaries: find the tables, the index of each column, and the shape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from sqlalchemy import Column, ColumnElement, FromClause, Table

from scalekit import suggest_name
from scalekit_pool.connections.driver import Arguments, Value
from scalekit_pool.nested_select.relations import Relation, relation, relation_names

NestedRow = dict[str, Value]
"""The columns of a row, and a nested row or None for each relation."""
RowNester = Callable[[Iterable[Arguments]], list[NestedRow]]
Places = dict[tuple[str, str], int]
"""The index in a row of the column with a path and a key."""


@dataclass(slots=True, eq=False)
class NestedRecord:
    """The part of the result that comes from one table: a field is a column, or the path of a nested record."""

    table: Table
    relation: Relation | None = None
    fields: dict[str, Column[Value] | str] = field(default_factory=dict)


def collect_records(table: Table, columns: tuple[str, ...]) -> dict[str, NestedRecord]:
    """Return the records that hold the columns, by path, outer ones first."""
    records = {"": NestedRecord(table)}
    for column in columns:
        path, _, name = column.rpartition(".")
        record = _record(records, path)
        if name not in record.table.c:
            raise ValueError(_unknown(record.table, name, column))
        _place(record, name, record.table.c[name], column)
    return records


def _record(records: dict[str, NestedRecord], path: str) -> NestedRecord:
    """Return the record at *path*, creating it and its outer records as needed."""
    record, here = records[""], ""
    for name in path.split(".") if path else ():
        here = f"{here}.{name}" if here else name
        if here not in records:
            found = relation(record.table, name)
            records[here] = NestedRecord(found.table, found)
        _place(record, name, here, path)
        record = records[here]
    return record


def _place(record: NestedRecord, name: str, value: Column[Value] | str, requested: str) -> None:
    if isinstance(record.fields.setdefault(name, value), str) != isinstance(value, str):
        raise ValueError(
            f"{requested!r}: {name!r} is both a column and a relation of table {record.table.fullname!r}: select one"
        )


def choose_sources(records: dict[str, NestedRecord]) -> dict[str, FromClause]:
    """Return the source of each record: its table, or an alias if the table occurs more than once."""
    uses = Counter(record.table for record in records.values())
    used_names = {table.name for table in uses}
    sources: dict[str, FromClause] = {}
    for path, record in records.items():
        if record.relation is None or uses[record.table] == 1:
            sources[path] = record.table
        else:
            name = path
            while name in used_names:
                name += "_"
            used_names.add(name)
            sources[path] = record.table.alias(name)
    return sources


def select_columns_of(
    records: dict[str, NestedRecord], sources: dict[str, FromClause]
) -> tuple[list[ColumnElement[Value]], Places]:
    """Return the columns to select, and the index of each by path and key.

    A related row exists when the column by which it is joined is not NULL; that column is always selected.
    """
    selected: list[ColumnElement[Value]] = []
    places: Places = {}
    for path, record in records.items():
        keys = [key for key, value in record.fields.items() if not isinstance(value, str)]
        if record.relation is not None:
            keys.append(_marker(record.relation))
        for key in keys:
            if (path, key) not in places:
                places[path, key] = len(selected)
                selected.append(sources[path].c[key])
    return selected, places


def _marker(found: Relation) -> str:
    return found.pairs[0][1].key


def compile_shape(records: dict[str, NestedRecord], places: Places) -> RowNester:
    """Return a function generated for these columns, as namedtuple and dataclasses generate theirs.

    It turns a row into ``{'id': row[0], 'profile': None if row[2] is None else {'name': row[1]}}``, seven times faster
    than a loop over names and indexes. Its source contains only numbers and quoted names of columns and relations.
    """
    literals: dict[str, str] = {}
    for path, record in reversed(records.items()):
        fields = {
            key: literals[value] if isinstance(value, str) else f"row[{places[path, key]}]"
            for key, value in record.fields.items()
        }
        literal = "{" + ", ".join(f"{key!r}: {value}" for key, value in fields.items()) + "}"
        absent = (
            "" if record.relation is None else f"None if row[{places[path, _marker(record.relation)]}] is None else "
        )
        literals[path] = f"{absent}{literal}"
    shape: RowNester = eval(f"lambda rows: [{literals['']} for row in rows]", {})
    return shape


def _unknown(table: Table, name: str, requested: str) -> str:
    where = f" (in {requested!r})" if name != requested else ""
    if name in relation_names(table):
        return f"{name!r}{where} is a relation of table {table.fullname!r}: name its columns, like '{requested}.id'"
    return f"table {table.fullname!r} has no column {name!r}{where}: {suggest_name(name, table.c.keys())}"
