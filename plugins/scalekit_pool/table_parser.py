"""The tables that a statement reads and writes, where its text says so for certain.

What is doubtful is unknown: nobody may conclude from it that a table was left alone. Names are compared without schema
and case, so two tables may count as one, but one never as two.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import sqlglot
from sqlglot import expressions as sql

from scalekit.contracts import Tables
from scalekit_pool.table_usage import UNKNOWN, Used, table_name

LONGEST = 20_000
"""Characters of a text that is parsed: a longer one would hold up the event loop."""

_DIALECTS = {"postgresql": "postgres", "sqlite": "sqlite"}
_CHANGES = (sql.Insert, sql.Update, sql.Delete)
_STATEMENTS = (sql.Select, sql.SetOperation, sql.Subquery, sql.Values, *_CHANGES)
_OF_THE_SERVER = ("pg_", "sqlite_")
_SCHEMAS_OF_THE_SERVER = frozenset({"pg_catalog", "information_schema"})
_SIZES = frozenset({"pg_relation_size", "pg_table_size", "pg_total_relation_size"})
_REPLACE = re.compile(r"\A\s*REPLACE\s+INTO\b", re.IGNORECASE)
_LATER = re.compile(r"__\[POSTCOMPILE_\S+?(?:~~[^~]*~~REPL~~[^~]*~~)?\]")
"""Where SQLAlchemy puts the values of a list once it knows how many there are."""


class TableFinder:
    """Finds the tables in statements of one *dialect*."""

    def __init__(self, dialect: str) -> None:
        self._dialect = _DIALECTS[dialect]

    def used_by(self, text: str) -> Used:
        """Return what *text* uses, one statement without functions that anybody could have written."""
        if len(text) > LONGEST:
            return UNKNOWN
        try:
            plain = _REPLACE.sub("INSERT INTO", _LATER.sub("NULL", text))
            found = sqlglot.parse(plain, dialect=self._dialect)
        except Exception:  # whatever it was, the database may think otherwise
            return UNKNOWN
        trees = [tree for tree in found if tree is not None]
        return _used(trees[0]) if len(trees) == 1 and isinstance(trees[0], _STATEMENTS) else UNKNOWN


def _used(tree: Any) -> Used:
    if tree.find(sql.Command, sql.Into, sql.Merge):
        return UNKNOWN
    tables = [table for table in tree.find_all(sql.Table) if not isinstance(table.this, sql.Func)]
    read = None if _hides_tables(tree) else _names(tables)
    return Used(read, _names(_target(change) for change in tree.find_all(*_CHANGES)))


def _hides_tables(tree: Any) -> bool:
    """Tell whether *tree* reads a table without naming it as one."""
    if any(each.args.get("field") is not None for each in tree.find_all(sql.In)):  # SQLite's ``x IN items``
        return True
    return any(each.name.lower() in _SIZES for each in tree.find_all(sql.Anonymous))


def _target(change: Any) -> Any:
    target = change.this
    return target.this if isinstance(target, sql.Schema) else target


def _names(tables: Iterable[Any]) -> Tables:
    """Return the names of *tables*, those of WITH among them, which do no harm; None when one is no table."""
    names = set()
    for table in tables:
        this = table.this if isinstance(table, sql.Table) else None
        if not isinstance(this, sql.Identifier) or _is_of_the_server(table):
            return None
        names.add(table_name(this.name))
    return frozenset(names)


def _is_of_the_server(table: Any) -> bool:
    """Tell whether *table* shows what the server knows, which changes by itself."""
    return table.db.lower() in _SCHEMAS_OF_THE_SERVER or table.name.lower().startswith(_OF_THE_SERVER)
