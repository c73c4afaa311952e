"""SQLAlchemy's dialect of asyncpg, for rows that asyncpg itself gives: casts for values, and types that both know."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from sqlalchemy import types
from sqlalchemy.dialects.postgresql.asyncpg import AsyncpgFloat, AsyncpgNumeric, PGDialect_asyncpg
from sqlalchemy.engine.interfaces import Dialect


def _by_value(kind: Any) -> Callable[[Any], Any]:
    """Return what makes a value a Decimal or a float, as *kind* says.

    SQLAlchemy goes by the type of the column, which is not known before the statement runs.
    """
    if not kind.asdecimal:
        return lambda value: float(value) if isinstance(value, Decimal | int) else value
    scale = f".{kind._effective_decimal_return_scale}f"
    return lambda value: Decimal(format(value, scale)) if isinstance(value, float) else value


_NUMERIC: Any = AsyncpgNumeric
_FLOAT: Any = AsyncpgFloat


class PostgresNumeric(_NUMERIC):  # type: ignore[misc]
    """NUMERIC."""

    def result_processor(self, dialect: Dialect, coltype: Any) -> Callable[[Any], Any]:
        """Return what converts a value."""
        return _by_value(self)


class PostgresFloat(_FLOAT):  # type: ignore[misc]
    """FLOAT."""

    def result_processor(self, dialect: Dialect, coltype: Any) -> Callable[[Any], Any]:
        """Return what converts a value."""
        return _by_value(self)


class PostgresDialect(PGDialect_asyncpg):
    """PostgreSQL as asyncpg takes it; JSON comes as text, for the connections have no codecs for it."""

    supports_statement_cache = True
    supports_native_json_deserialization = False
    _backslash_escapes = False
    colspecs = {**PGDialect_asyncpg.colspecs, types.Numeric: PostgresNumeric, types.Float: PostgresFloat}


def postgres_dialect() -> PostgresDialect:
    """Return the dialect; it is never connected."""
    make: Any = PostgresDialect  # SQLAlchemy has no types for it
    dialect: PostgresDialect = make(dbapi=make.import_dbapi())
    return dialect
