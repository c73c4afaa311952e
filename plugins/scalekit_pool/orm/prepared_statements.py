"""The prepared statements of one connection to PostgreSQL, with their columns.

asyncpg's own cache refuses texts of more than 15 KiB, which flushes of many objects exceed, and computes the columns
again for each execution.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import asyncpg

from scalekit_pool.connections.driver import RawConnection, Untyped, Value

MAX_CHARACTERS = 1_000_000
"""Characters of all texts of a connection that are kept."""


class PreparedStatement(NamedTuple):
    """A prepared statement of asyncpg, and the description of its columns as PEP 249 has it."""

    state: Untyped
    description: Sequence[tuple[Value, ...]] | None


class PreparedStatements:
    """The statements that *raw* has prepared, up to *max_statements*; the least recently used one goes first."""

    def __init__(self, raw: RawConnection, max_statements: int) -> None:
        self._raw = raw
        self._max_statements = max_statements
        self._statements: dict[str, PreparedStatement] = {}
        self._characters = 0

    def get(self, sql: str) -> PreparedStatement | None:
        """Return the prepared statement of *sql*, or None."""
        found = self._statements.pop(sql, None)
        if found is not None:
            self._statements[sql] = found
        return found

    async def prepare(self, sql: str, timeout: float) -> PreparedStatement:
        """Prepare *sql* and keep it if it fits; raise the driver's errors."""
        keeps = self._max_statements > 0 and len(sql) <= MAX_CHARACTERS
        state = await self._raw._get_statement(sql, timeout, named=keeps, use_cache=False, record_class=asyncpg.Record)
        prepared = PreparedStatement(state, describe(state))
        if keeps:
            self._statements[sql] = prepared
            self._characters += len(sql)
            while len(self._statements) > self._max_statements or self._characters > MAX_CHARACTERS:
                self._drop(next(iter(self._statements)))
        return prepared

    def clear(self) -> None:
        """Drop all statements."""
        for sql in [*self._statements]:
            self._drop(sql)

    def _drop(self, sql: str) -> None:
        self._characters -= len(sql)
        self._raw._maybe_gc_stmt(self._statements.pop(sql).state)  # asyncpg deallocates it before the next prepare


def describe(state: Untyped) -> Sequence[tuple[Value, ...]] | None:
    """Return the columns of the prepared statement *state*, or None when it returns no rows."""
    columns = state._get_attributes()
    return [(each.name, each.type.oid, None, None, None, None, None) for each in columns] if columns else None
