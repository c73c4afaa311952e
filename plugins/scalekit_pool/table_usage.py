"""The tables that a statement uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from scalekit.contracts import Tables

NAME_LENGTH = 63
"""Bytes of a name that PostgreSQL looks at."""


class Used(NamedTuple):
    """The tables that a statement reads, those that it changes included, and the tables that it changes."""

    read: Tables
    written: Tables


UNKNOWN = Used(None, None)
UsedBy = Callable[[str], Used]


def table_name(name: str) -> str:
    """Return what stands for all spellings of the table *name*; two tables may share it."""
    return name.encode("utf-8", "surrogatepass")[:NAME_LENGTH].decode("utf-8", "ignore").casefold()
