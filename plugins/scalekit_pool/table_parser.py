"""Find the tables that a statement reads and writes, with sqlglot.

The result is conservative: an ambiguous statement has unknown tables, which means any table. Names are compared
without schema and case, so two tables may count as one, but never one as two.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import sqlglot
from sqlglot import expressions as sql

from scalekit.contracts import Tables
from scalekit_pool.table_usage import UNKNOWN_TABLES, TableUsage, normalize_table_name

MAX_STATEMENT_LENGTH = 20_000
"""Characters of a statement that is parsed; parsing a longer one would block the event loop."""

_DIALECTS = {"postgresql": "postgres", "sqlite": "sqlite", "mysql": "mysql"}
_CHANGES = (sql.Insert, sql.Update, sql.Delete)
_STATEMENTS = (sql.Select, sql.SetOperation, sql.Subquery, sql.Values, *_CHANGES)
_SYSTEM_PREFIXES = ("pg_", "sqlite_")
_SYSTEM_SCHEMAS = frozenset({"pg_catalog", "information_schema", "mysql", "performance_schema", "sys"})
_CATALOG_FUNCTIONS = frozenset(
    {"pg_relation_size", "pg_table_size", "pg_total_relation_size", "to_regclass", "to_regproc"}
)
_REPLACE = re.compile(r"\A\s*REPLACE\s+INTO\b", re.IGNORECASE)
_POSTCOMPILE = re.compile(r"__\[POSTCOMPILE_\S+?(?:~~[^~]*~~REPL~~[^~]*~~)?\]")
"""SQLAlchemy's placeholder for the values of a list, whose number is known only at execution."""


class TableParser:
    """Finds the tables of statements of one *dialect*."""

    def __init__(self, dialect: str) -> None:
        self._dialect = _DIALECTS[dialect]

    def find_tables(self, text: str) -> TableUsage:
        """Return the tables of *text*, a single statement that calls only safe functions."""
        if len(text) > MAX_STATEMENT_LENGTH:
            return UNKNOWN_TABLES
        try:
            standard = _REPLACE.sub("INSERT INTO", _POSTCOMPILE.sub("NULL", text))
            found = sqlglot.parse(standard, dialect=self._dialect)
        except Exception:  # sqlglot's errors are many, and the database may accept the statement
            return UNKNOWN_TABLES
        trees = [tree for tree in found if tree is not None]
        return _table_usage(trees[0]) if len(trees) == 1 and isinstance(trees[0], _STATEMENTS) else UNKNOWN_TABLES


def _table_usage(tree: sql.Expr) -> TableUsage:
    if tree.find(sql.Command, sql.Into, sql.Merge):
        return UNKNOWN_TABLES
    tables = [table for table in tree.find_all(sql.Table) if not isinstance(table.this, sql.Func)]
    read = None if _hides_tables(tree) else _names(tables)
    return TableUsage(read, _names(target for change in tree.find_all(*_CHANGES) for target in _targets(change)))


def _hides_tables(tree: sql.Expr) -> bool:
    """Return whether *tree* reads a table without naming it in FROM."""
    if any(each.args.get("field") is not None for each in tree.find_all(sql.In)):  # SQLite's ``x IN items``
        return True
    return any(each.name.lower() in _CATALOG_FUNCTIONS for each in tree.find_all(sql.Anonymous))


def _targets(change: sql.Expr) -> Iterable[object]:
    """Return the tables that *change* writes; those that MySQL joins may all be."""
    target: object = change.this
    if isinstance(target, sql.Table) and target.args.get("joins"):
        return change.find_all(sql.Table)
    return [target.this if isinstance(target, sql.Schema) else target]


def _names(tables: Iterable[object]) -> Tables:
    """Return the names of *tables*, harmlessly including names of WITH; None when one is not a plain table."""
    names = set()
    for table in tables:
        if not isinstance(table, sql.Table) or not isinstance(table.this, sql.Identifier) or _is_system_table(table):
            return None
        names.add(normalize_table_name(table.this.name))
    return frozenset(names)


def _is_system_table(table: sql.Table) -> bool:
    """Return whether *table* is a system catalog, whose rows change without a write by any client."""
    return table.db.lower() in _SYSTEM_SCHEMAS or table.name.lower().startswith(_SYSTEM_PREFIXES)
