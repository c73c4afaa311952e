"""SQLAlchemy's dialect of SQLite, and the SQL functions that its expressions call."""

from __future__ import annotations

import sqlite3

from sqlalchemy.dialects.sqlite import pysqlite
from sqlalchemy.engine.interfaces import Dialect

from scalekit_pool.connections.driver import Untyped

_make_dialect: Untyped = pysqlite.dialect


def sqlite_dialect() -> Dialect:
    """Return the dialect; it never connects."""
    dialect: Dialect = _make_dialect(dbapi=sqlite3, paramstyle="qmark")
    return dialect


def create_functions(raw: sqlite3.Connection) -> None:
    """Create the functions of SQLAlchemy's expressions on *raw*: ``regexp`` of ``regexp_match``, and ``floor``."""
    _on_connect(raw)


_on_connect: Untyped = sqlite_dialect().on_connect()
