"""SQLAlchemy's dialect for PostgreSQL with asyncpg, on the connections of the pool."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg, PGExecutionContext_asyncpg

from scalekit_pool.connections.driver import Arguments, RawConnection, Untyped, Value
from scalekit_pool.orm.cursor import DbapiCursor
from scalekit_pool.orm.dbapi import AUTOCOMMIT, DbapiConnection
from scalekit_pool.orm.execution import PooledExecutionContext
from scalekit_pool.orm.prepared_statements import PreparedStatements, describe
from scalekit_pool.orm.server_cursor import ServerCursor
from scalekit_pool.orm.two_phase import TwoPhaseDialect

_ROWCOUNT = re.compile(rb"(?:SELECT|UPDATE|DELETE|MERGE|INSERT \d+) (\d+)")
_DIALECT: Untyped = PGDialect_asyncpg


class PostgresCursor(DbapiCursor):
    """Runs statements with asyncpg."""

    async def fetch(self, raw: RawConnection, sql: str, arguments: Arguments) -> Sequence[Value]:
        """Return the rows, and set description and rowcount."""
        timeout = self._connection.driver.timeout
        statements = raw.prepared or _statements_of(raw)
        prepared = statements.get(sql) or await statements.prepare(sql, timeout)
        rows, status, _ = await raw._protocol.bind_execute(
            state=prepared.state, args=arguments, portal_name="", limit=0, return_extra=True, timeout=timeout
        )
        self.description = prepared.description
        found = _ROWCOUNT.match(status or b"")
        self.rowcount = int(found[1]) if found else -1
        return rows  # type: ignore[no-any-return] # asyncpg: untyped

    async def fetch_many(self, raw: RawConnection, sql: str, arguments: Arguments) -> None:
        """Run *sql* once for each of *arguments*, pipelined; the rows are not counted."""
        self.rowcount = -1
        await raw.executemany(sql, arguments, timeout=self._connection.driver.timeout)


class PostgresServerCursor(ServerCursor, PostgresCursor):
    """A server-side cursor, open until its transaction ends."""

    _portal: Untyped = None
    _sql = ""

    async def fetch(self, raw: RawConnection, sql: str, arguments: Arguments) -> Sequence[Value]:
        """Open the cursor, set description, and return no rows yet."""
        self._sql = sql
        self._portal = await raw.cursor(sql, *arguments, timeout=self._connection.driver.timeout)
        self.description = describe(self._portal._state)
        return []

    def close(self) -> None:
        """Discard the rows."""
        super().close()
        self._portal = None

    def fetch_next(self, size: int) -> Sequence[Value]:
        """Return the next *size* rows from the server."""
        portal, timeout = self._portal, self._connection.driver.timeout
        if portal is None:
            return []
        return self._connection.command(lambda _: portal.fetch(size, timeout=timeout), self._sql)


def raise_postgres_error(dbapi: Untyped, error: Exception) -> None:
    """Raise the error of *dbapi* for *error* of asyncpg, as SQLAlchemy's asyncpg dialect does, if there is one."""
    kinds = dbapi._asyncpg_error_translate
    for kind in type(error).__mro__:
        if kind in kinds:
            raise kinds[kind](error.args[0], error) from error


def new_postgres_cursor(connection: DbapiConnection, server_side: bool) -> DbapiCursor:
    """Return a new cursor."""
    return PostgresServerCursor(connection) if server_side else PostgresCursor(connection)


def _statements_of(raw: RawConnection) -> PreparedStatements:
    """Return the prepared statements of *raw*."""
    if raw.prepared is None:
        raw.prepared = PreparedStatements(raw, raw._config.statement_cache_size)
    return raw.prepared  # type: ignore[no-any-return] # asyncpg: untyped


class PostgresExecutionContext(PooledExecutionContext, PGExecutionContext_asyncpg):
    """The execution of one statement."""


class PooledPostgresDialect(TwoPhaseDialect, _DIALECT):  # type: ignore[misc] # base from an untyped call
    """PostgreSQL; JSON arrives as text, since our connections set no JSON codec."""

    driver = "scalekit"
    supports_statement_cache = True
    supports_native_json_deserialization = False
    dialect_injects_custom_json_deserializer = False
    execution_ctx_cls = PostgresExecutionContext
    isolation_levels: ClassVar = {
        "READ COMMITTED": None,
        "AUTOCOMMIT": AUTOCOMMIT,
        "REPEATABLE READ": "repeatable_read",
        "SERIALIZABLE": "serializable",
    }

    def set_readonly(self, connection: Untyped, value: bool) -> None:
        """Begin transactions as READ ONLY."""
        connection.readonly = value

    def set_deferrable(self, connection: Untyped, value: bool) -> None:
        """Begin transactions as DEFERRABLE."""
        connection.deferrable = value

    def _set_backslash_escapes(self, connection: Connection) -> None:
        """Assume standard_conforming_strings, without a query."""
        self._backslash_escapes = False
