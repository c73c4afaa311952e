"""SQLAlchemy's asyncpg dialect, adapted to rows that asyncpg itself returns."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from sqlalchemy import types
from sqlalchemy.dialects.postgresql.asyncpg import AsyncpgFloat, AsyncpgNumeric, PGDialect_asyncpg
from sqlalchemy.engine.interfaces import Dialect

from scalekit_pool.connections.driver import Untyped, Value


def _by_value(kind: Untyped) -> Callable[[Value], Value]:
    """Return a function that converts a value to Decimal or float by *kind*.

    SQLAlchemy converts by the column type, which is not known before the statement runs.
    """
    if not kind.asdecimal:
        return lambda value: float(value) if isinstance(value, Decimal | int) else value
    scale = f".{kind._effective_decimal_return_scale}f"
    return lambda value: Decimal(format(value, scale)) if isinstance(value, float) else value


_NUMERIC: Untyped = AsyncpgNumeric
_FLOAT: Untyped = AsyncpgFloat


class PostgresNumeric(_NUMERIC):  # type: ignore[misc] # base from an untyped call
    """NUMERIC."""

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Value], Value]:
        """Return the function that converts a value."""
        return _by_value(self)


class PostgresFloat(_FLOAT):  # type: ignore[misc] # base from an untyped call
    """FLOAT."""

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Value], Value]:
        """Return the function that converts a value."""
        return _by_value(self)


class PostgresDialect(PGDialect_asyncpg):
    """PostgreSQL with asyncpg; JSON arrives as text, since our connections set no JSON codec."""

    supports_statement_cache = True
    supports_native_json_deserialization = False
    _backslash_escapes = False
    colspecs = {**PGDialect_asyncpg.colspecs, types.Numeric: PostgresNumeric, types.Float: PostgresFloat}


def postgres_dialect() -> PostgresDialect:
    """Return the dialect; it never connects."""
    make: Untyped = PostgresDialect
    dialect: PostgresDialect = make(dbapi=make.import_dbapi())
    return dialect
