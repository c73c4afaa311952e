"""Build one query for the columns that a caller names, and nest its rows again.

``selection(users, ["id", "profile.name"])`` joins the related tables that the names pass through, to the left, and
shapes each row as ``{"id": 1, "profile": {"name": "Ada"}}``, or ``"profile": None`` where there is no related row.
`relations` says how a relation is named.

Conditions and orders are SQLAlchemy expressions, or names spelled like the columns: ``order_by="profile.name"``. A
joined table's columns are those of the table where it is in the query once: ``profiles.c.name``. A table that is there
more than once is joined under the name of the relation: ``users.alias("author").c.name``, and further in
``users.alias("author.manager").c.name``. Where a table has that name itself, a ``_`` follows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Alias, ClauseElement, ColumnElement, FromClause, Select, Table, and_
from sqlalchemy import select as select_columns
from sqlalchemy.sql.visitors import replacement_traverse

from scalekit import suggest_name
from scalekit_pool.nested_rows import TextPattern, places_of, records_of, shape_of, sources_of

PREPARED = 256  # selections of one program are few: each is written somewhere in its text


class Selection(NamedTuple):
    """A query, and what makes nested dictionaries of its rows; a row is its values in the order of the columns."""

    query: Select[Any]
    shape: TextPattern


def selection(
    table: Table,
    columns: Sequence[str],
    where: Any = None,
    order_by: Any = None,
    limit: int | None = None,
    offset: int | None = None,
) -> Selection:
    """Return the query for *columns* of *table* and of tables related to it, and the shape of its rows.

    *where* and *order_by* are one expression or a sequence of them. Raises ValueError for a column or relation that is
    not there, naming the suggest_name, and for a table that is not in the query.
    """
    plan = _plan(*_checked(table, columns))
    query = plan.query.where(*plan.adapted(where, "where")).order_by(*plan.adapted(order_by, "order_by"))
    if limit is not None:
        query = query.limit(_natural("limit", limit))
    if offset is not None:
        query = query.offset(_natural("offset", offset))
    return Selection(query, plan.shape)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is the same for every query that asks for the same columns."""

    query: Select[Any]
    shape: TextPattern
    sources: dict[str, FromClause]
    aliases: dict[str, Alias]

    def adapted(self, expressions: Any, argument: str) -> list[Any]:
        """Return the expressions as a list, in terms of the tables and aliases that are in the query."""
        if expressions is None:
            return []
        listed = expressions if isinstance(expressions, list | tuple) else [expressions]
        return [self._column(each) if isinstance(each, str) else self._adapted(each, argument) for each in listed]

    def _column(self, name: str) -> ColumnElement[Any]:
        path, _, key = name.rpartition(".")
        if path not in self.sources:
            raise ValueError(
                f"{name!r} is of no relation in the query: {suggest_name(path, filter(None, self.sources))}"
            )
        source = self.sources[path]
        if key not in source.c:
            raise ValueError(f"{_name(source)!r} has no column {key!r}: {suggest_name(key, source.c.keys())}")
        return source.c[key]

    def _adapted(self, expression: Any, argument: str) -> Any:
        if self.aliases and isinstance(expression, ClauseElement):
            expression = replacement_traverse(expression, {}, self._ours)
        # What select(expression).get_final_froms() says too, in 50 µs.
        sources = getattr(expression, "_from_objects", None)
        if sources is None:
            raise ValueError(f"{argument} takes SQLAlchemy expressions, got {expression!r}")
        for source in sources:
            if source not in self.sources.values():
                raise ValueError(f"{argument} uses {_name(source)!r}, {self._absent(source)}")
        return expression

    def _ours(self, element: Any, **_: Any) -> Any:
        theirs = getattr(element, "table", None)
        if not isinstance(theirs, Alias) or theirs.name not in self.aliases:
            return None
        ours = self.aliases[theirs.name]
        return ours.c[element.key] if ours.element is theirs.element else None

    def _absent(self, source: FromClause) -> str:
        """Say what to write instead: each row would be paired with every row of a table that is not joined."""
        for alias in self.aliases.values():
            if alias.element is source:
                return f"which is in the query more than once: write .alias({alias.name!r}) for one of them"
        known = ", ".join(sorted(map(_name, self.sources.values())))
        return f"which is not in the query ({known}): name a column of that relation too"


@lru_cache(PREPARED)
def _plan(table: Table, columns: tuple[str, ...]) -> _Plan:
    records = records_of(table, columns)
    sources = sources_of(records)
    selected, places = places_of(records, sources)
    joined: FromClause = table
    for path, record in records.items():
        if record.relation is not None:
            outer = sources[_outer(path)]
            pairs = record.relation.pairs
            on = [sources[path].c[theirs.key] == outer.c[ours.key] for ours, theirs in pairs]
            joined = joined.outerjoin(sources[path], and_(*on))
    return _Plan(
        select_columns(*selected).select_from(joined),
        shape_of(records, places),
        sources,
        {source.name: source for source in sources.values() if isinstance(source, Alias)},
    )


def _checked(table: Any, columns: Sequence[str]) -> tuple[Table, tuple[str, ...]]:
    if not isinstance(table, Table):
        raise ValueError(f"select wants a sqlalchemy.Table, got {type(table).__name__}; of a model it is __table__")
    if not columns:
        raise ValueError(f"no columns of table {table.fullname!r} are named: name those you need, like 'id'")
    for column in columns:
        if not isinstance(column, str):
            raise ValueError(f"columns are named by text, like 'id' or 'profile.name', got {column!r}")
    return table, tuple(columns)


def _natural(name: str, number: Any) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise ValueError(f"{name} is a whole number from 0 on, got {number!r}")
    return number


def _outer(path: str) -> str:
    return path.rpartition(".")[0]


def _name(source: FromClause) -> str:
    return str(getattr(source, "name", source))
