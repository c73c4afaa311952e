"""Make nested records of the columns that a caller names: their tables, their places in a row, and a row's shape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Column, ColumnElement, FromClause, Table

from scalekit import suggest_name
from scalekit_pool.relations import Relation, relation, relation_names

TextPattern = Callable[[Iterable[Sequence[Any]]], list[dict[str, Any]]]
Places = dict[tuple[str, str], int]
"""The index in a row of the column that has a path and a key."""


@dataclass(slots=True, eq=False)
class Record:
    """One table's part of the result: a field is a column, or the path of the record in it."""

    table: Table
    relation: Relation | None = None
    fields: dict[str, Column[Any] | str] = field(default_factory=dict)


def records_of(table: Table, columns: tuple[str, ...]) -> dict[str, Record]:
    """Return the records that the columns are in, by their paths, outer ones first."""
    records = {"": Record(table)}
    for column in columns:
        path, _, name = column.rpartition(".")
        record = _record(records, path)
        if name not in record.table.c:
            raise ValueError(_unknown(record.table, name, column))
        _place(record, name, record.table.c[name], column)
    return records


def _record(records: dict[str, Record], path: str) -> Record:
    """Return the record at *path*; those around it come to be where they are not there yet."""
    record, here = records[""], ""
    for name in path.split(".") if path else ():
        here = f"{here}.{name}" if here else name
        if here not in records:
            found = relation(record.table, name)
            records[here] = Record(found.table, found)
        _place(record, name, here, path)
        record = records[here]
    return record


def _place(record: Record, name: str, value: Column[Any] | str, asked: str) -> None:
    if isinstance(record.fields.setdefault(name, value), str) != isinstance(value, str):
        raise ValueError(
            f"{asked!r}: {name!r} is a column of table {record.table.fullname!r} and a relation of it: ask for one"
        )


def sources_of(records: dict[str, Record]) -> dict[str, FromClause]:
    """Return what each record is selected from: its table, or an alias where the table is in the query again."""
    uses = Counter(record.table for record in records.values())
    taken = {table.name for table in uses}
    sources: dict[str, FromClause] = {}
    for path, record in records.items():
        if record.relation is None or uses[record.table] == 1:
            sources[path] = record.table
        else:
            name = path
            while name in taken:
                name += "_"
            taken.add(name)
            sources[path] = record.table.alias(name)
    return sources


def places_of(records: dict[str, Record], sources: dict[str, FromClause]) -> tuple[list[ColumnElement[Any]], Places]:
    """Return the columns to select, and where the one of a path and key is among them.

    A related row is there when the column by which it was joined is not NULL, whatever its other columns are: that one
    is always selected.
    """
    selected: list[ColumnElement[Any]] = []
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


def shape_of(records: dict[str, Record], places: Places) -> TextPattern:
    """Return a function that has been written for these columns, as namedtuple and dataclasses write theirs.

    It makes ``{'id': row[0], 'profile': None if row[2] is None else {'name': row[1]}}`` of a row, seven times as fast
    as a loop over names and places. Nothing is in it but numbers and the quoted names of columns and relations.
    """
    made: dict[str, str] = {}
    for path, record in reversed(records.items()):
        fields = {
            key: made[value] if isinstance(value, str) else f"row[{places[path, key]}]"
            for key, value in record.fields.items()
        }
        literal = "{" + ", ".join(f"{key!r}: {value}" for key, value in fields.items()) + "}"
        absent = (
            "" if record.relation is None else f"None if row[{places[path, _marker(record.relation)]}] is None else "
        )
        made[path] = f"{absent}{literal}"
    shape: TextPattern = eval(f"lambda rows: [{made['']} for row in rows]", {})
    return shape


def _unknown(table: Table, name: str, asked: str) -> str:
    where = f" (in {asked!r})" if name != asked else ""
    if name in relation_names(table):
        return f"{name!r}{where} is a relation of table {table.fullname!r}: name its columns, like '{asked}.id'"
    return f"table {table.fullname!r} has no column {name!r}{where}: {suggest_name(name, table.c.keys())}"
