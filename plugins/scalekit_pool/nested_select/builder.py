"""Build one SELECT for columns of a table and its related tables, and nest its rows.

``build_select(users, ["id", "profile.name"])`` LEFT JOINs the related tables that the column names pass through, and
shapes each row as ``{"id": 1, "profile": {"name": "Ada"}}``, or ``"profile": None`` when there is no related row.
`relations` documents the names of relations.

Conditions and orders are SQLAlchemy expressions or column names: ``order_by="profile.name"``. The columns of a joined
table are those of the table, when it occurs in the query once: ``profiles.c.name``. A table that occurs more than once
is joined under the name of the relation: ``users.alias("author").c.name``, and one level further
``users.alias("author.manager").c.name``. If another table has that name, a ``_`` is appended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from sqlalchemy import Alias, ClauseElement, ColumnElement, FromClause, Select, Table, and_
from sqlalchemy import select as select_columns
from sqlalchemy.sql.visitors import replacement_traverse

from scalekit import suggest_name
from scalekit_pool.connections.driver import Value
from scalekit_pool.nested_select.nested_rows import (
    RowNester,
    choose_sources,
    collect_records,
    compile_shape,
    select_columns_of,
)

MAX_PLANS = 256  # a program has few distinct selections: each is written in its source


class NestedSelect(NamedTuple):
    """A query, and the function that nests its rows; a row is a sequence of values in column order."""

    query: Select[Value]
    shape: RowNester


def build_select(
    table: Table,
    columns: Sequence[str],
    *,
    where: object = None,
    order_by: object = None,
    limit: int | None = None,
    offset: int | None = None,
) -> NestedSelect:
    """Return the query for *columns* of *table* and of related tables, and the function that nests its rows.

    *where* and *order_by* are one expression or a sequence of them. Raise ValueError for an unknown column or relation,
    naming the nearest, and for an expression on a table that is not in the query.
    """
    plan = _plan(*_check_arguments(table, columns))
    query = plan.query.where(*plan.adapt(where, "where")).order_by(*plan.adapt(order_by, "order_by"))
    if limit is not None:
        query = query.limit(_non_negative("limit", limit))
    if offset is not None:
        query = query.offset(_non_negative("offset", offset))
    return NestedSelect(query, plan.shape)


@dataclass(frozen=True, slots=True)
class _Plan:
    """The parts that are the same for every query of the same columns."""

    query: Select[Value]
    shape: RowNester
    sources: dict[str, FromClause]
    aliases: dict[str, Alias]

    def adapt(self, expressions: object, argument: str) -> list[Value]:
        """Return the expressions as a list, in terms of the tables and aliases of the query."""
        if expressions is None:
            return []
        listed = expressions if isinstance(expressions, list | tuple) else [expressions]
        return [self._column(each) if isinstance(each, str) else self._adapt(each, argument) for each in listed]

    def _column(self, name: str) -> ColumnElement[Value]:
        path, _, key = name.rpartition(".")
        if path not in self.sources:
            raise ValueError(
                f"{name!r} belongs to no relation in the query: {suggest_name(path, filter(None, self.sources))}"
            )
        source = self.sources[path]
        if key not in source.c:
            raise ValueError(f"{_name(source)!r} has no column {key!r}: {suggest_name(key, source.c.keys())}")
        return source.c[key]

    def _adapt(self, expression: object, argument: str) -> object:
        if self.aliases and isinstance(expression, ClauseElement):
            expression = replacement_traverse(expression, {}, self._replace_alias)
        # select(expression).get_final_froms() returns the same, but takes 50 µs.
        sources = getattr(expression, "_from_objects", None)
        if sources is None:
            raise ValueError(f"{argument} takes SQLAlchemy expressions, got {expression!r}")
        for source in sources:
            if source not in self.sources.values():
                raise ValueError(f"{argument} uses {_name(source)!r}, {self._missing_source_hint(source)}")
        return expression

    def _replace_alias(self, element: object, **_: object) -> ColumnElement[Value] | None:
        alias = getattr(element, "table", None)
        if not isinstance(alias, Alias) or alias.name not in self.aliases:
            return None
        joined = self.aliases[alias.name]
        key = getattr(element, "key", "")
        return joined.c[key] if joined.element is alias.element else None

    def _missing_source_hint(self, source: FromClause) -> str:
        """Return a remedy; without it, the database would form the cross product with a table that is not joined."""
        for alias in self.aliases.values():
            if alias.element is source:
                return f"which occurs in the query more than once: use .alias({alias.name!r}) to choose one"
        tables_of_query = ", ".join(sorted(map(_name, self.sources.values())))
        return f"which is not in the query ({tables_of_query}): select a column of that relation too"


@lru_cache(MAX_PLANS)
def _plan(table: Table, columns: tuple[str, ...]) -> _Plan:
    records = collect_records(table, columns)
    sources = choose_sources(records)
    selected, places = select_columns_of(records, sources)
    joined: FromClause = table
    for path, record in records.items():
        if record.relation is not None:
            outer = sources[_outer(path)]
            pairs = record.relation.pairs
            on = [sources[path].c[remote.key] == outer.c[local.key] for local, remote in pairs]
            joined = joined.outerjoin(sources[path], and_(*on))
    return _Plan(
        select_columns(*selected).select_from(joined),
        compile_shape(records, places),
        sources,
        {source.name: source for source in sources.values() if isinstance(source, Alias)},
    )


def _check_arguments(table: object, columns: Sequence[str]) -> tuple[Table, tuple[str, ...]]:
    if not isinstance(table, Table):
        raise ValueError(f"select takes a sqlalchemy.Table, got {type(table).__name__}; pass the __table__ of a model")
    if not columns:
        raise ValueError(f"no columns of table {table.fullname!r} selected: name those you need, like 'id'")
    for column in columns:
        if not isinstance(column, str):
            raise ValueError(f"columns must be strings like 'id' or 'profile.name', got {column!r}")
    return table, tuple(columns)


def _non_negative(name: str, number: object) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise ValueError(f"{name} must be an integer >= 0, got {number!r}")
    return number


def _outer(path: str) -> str:
    return path.rpartition(".")[0]


def _name(source: FromClause) -> str:
    return str(getattr(source, "name", source))
