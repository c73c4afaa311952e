"""Tables as tags: what a handler has read tags its answer, and a change of a table purges it.

An answer of which nobody knows for sure what it was made from is not kept; a change of nobody knows what purges every
answer that was made from any table.
"""

from __future__ import annotations

from contextvars import ContextVar

from scalekit.contracts import Tables
from scalekit_caching.tags import name_tag

MOST_TABLES = 100
"""Tables that one answer is tagged with; what is made from more is not kept."""
ANY_TABLE = name_tag("sql:*")
"""What every answer has that was made from a table."""


class ReadTracker:
    """The tables that the answer which is being made was made from until now."""

    __slots__ = ("_names", "known")

    def __init__(self) -> None:
        self.known = True
        self._names: set[str] = set()

    def add(self, tables: Tables) -> None:
        """Take note that *tables* were read."""
        if tables is None or not self.known:
            self.known = False
            return
        self._names |= tables
        if len(self._names) > MOST_TABLES:
            self.known = False

    def tags_beside(self, others: tuple[bytes, ...]) -> tuple[bytes, ...] | None:
        """Return these tags and *others*; None when the answer must not be kept."""
        tags = self.tags()
        return None if tags is None else tuple(dict.fromkeys((*others, *tags)))

    def tags(self) -> tuple[bytes, ...] | None:
        """Return the tags of the answer; None when it must not be kept."""
        return tags_of(frozenset(self._names), (ANY_TABLE,)) if self.known else None


READ: ContextVar[ReadTracker | None] = ContextVar("scalekit.cache.read", default=None)
"""The tables of the answer that is being made here and now."""


def begin_collecting() -> ReadTracker:
    """Return the tables that are read from now on, here and in what is begun here."""
    tables = ReadTracker()
    READ.set(tables)
    return tables


def tags_of(tables: frozenset[str], more: tuple[bytes, ...] = ()) -> tuple[bytes, ...]:
    """Return the tags of *tables*, and *more* if there are any."""
    return (*more, *(name_tag(f"sql:{name}") for name in sorted(tables))) if tables else ()
