"""The tables that a statement reads and writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from scalekit.contracts import Tables

MAX_IDENTIFIER_BYTES = 63
"""Bytes of an identifier that PostgreSQL compares; it truncates longer ones."""


class TableUsage(NamedTuple):
    """The tables that a statement reads, including those it writes, and the tables that it writes.

    Either is None when the tables are unknown: the statement may then use any table.
    """

    read: Tables
    written: Tables


UNKNOWN_TABLES = TableUsage(None, None)
FindTables = Callable[[str], TableUsage]


def normalize_table_name(name: str) -> str:
    """Return *name* case-folded and truncated as PostgreSQL does; two tables may share the result."""
    return name.encode("utf-8", "surrogatepass")[:MAX_IDENTIFIER_BYTES].decode("utf-8", "ignore").casefold()
