"""SQLAlchemy's dialects for MySQL and MariaDB with asyncmy, on the connections of the pool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from sqlalchemy import Connection
from sqlalchemy.dialects.mysql.asyncmy import MySQLDialect_asyncmy
from sqlalchemy.dialects.mysql.base import MySQLDialect, MySQLExecutionContext
from sqlalchemy.dialects.mysql.mariadb import MariaDBDialect
from sqlalchemy.engine.interfaces import IsolationLevel
from sqlalchemy.exc import InvalidRequestError

from scalekit_pool.connections.driver import Arguments, RawConnection, Untyped, Value
from scalekit_pool.mysql.connector import CHARSET
from scalekit_pool.mysql.cursor import StatementCursor
from scalekit_pool.mysql.dialect import MysqlCompiler
from scalekit_pool.mysql.result import tuples_of
from scalekit_pool.orm.cursor import DbapiCursor
from scalekit_pool.orm.dbapi import AUTOCOMMIT, DbapiConnection
from scalekit_pool.orm.dialect import PooledDialect
from scalekit_pool.orm.execution import PooledExecutionContext
from scalekit_pool.orm.server_cursor import ServerCursor

_DIALECT: Untyped = MySQLDialect_asyncmy
_MARIADB: Untyped = MariaDBDialect
_CONTEXT: Untyped = MySQLExecutionContext


class MysqlCursor(DbapiCursor):
    """Runs statements with asyncmy."""

    async def fetch(self, raw: RawConnection, sql: str, arguments: Arguments) -> Sequence[Value]:
        """Return the rows, and set description, rowcount and lastrowid."""
        result = await self._connection.driver.result(raw, sql, arguments)
        self.description, self.rowcount, self.lastrowid = result.description, result.affected_rows, result.insert_id
        return tuples_of(result)

    async def fetch_many(self, raw: RawConnection, sql: str, arguments: Arguments) -> None:
        """Run *sql* once for each of *arguments*, and set rowcount."""
        driver, count = self._connection.driver, 0
        for each in arguments:
            count += (await driver.result(raw, sql, each)).affected_rows
        self.rowcount = count


class MysqlServerCursor(ServerCursor, MysqlCursor):
    """A server-side cursor, open until its transaction ends."""

    _open: StatementCursor[Sequence[Value]] | None = None
    _sql = ""

    async def fetch(self, raw: RawConnection, sql: str, arguments: Arguments) -> Sequence[Value]:
        """Open the cursor, set description, and return the first rows."""
        self._sql = sql
        self._open = cursor = StatementCursor(raw, sql, tuples_of)
        rows: Sequence[Value] = await self._connection.driver.call(raw, cursor.open(arguments))
        self.description = cursor.description
        return rows

    def close(self) -> None:
        """Discard the rows."""
        super().close()
        self._open = None

    def fetch_next(self, size: int) -> Sequence[Value]:
        """Return the next *size* rows from the server."""
        cursor, driver = self._open, self._connection.driver
        if cursor is None:
            return []
        return self._connection.command(lambda raw: driver.call(raw, cursor.fetch(size)), self._sql)


def new_mysql_cursor(connection: DbapiConnection, server_side: bool) -> DbapiCursor:
    """Return a new cursor."""
    return MysqlServerCursor(connection) if server_side else MysqlCursor(connection)


def raise_mysql_error(error: Exception) -> None:
    """Do nothing: the errors of asyncmy are those of its DBAPI."""


class MysqlExecutionContext(PooledExecutionContext, _CONTEXT):  # type: ignore[misc] # base from an untyped call
    """The execution of one statement."""


class PooledMysqlDialect(PooledDialect, _DIALECT):  # type: ignore[misc] # base from an untyped call
    """MySQL, or MariaDB by a URL of MySQL."""

    driver = "scalekit"
    supports_statement_cache = True
    use_insertmanyvalues_wo_returning = True
    """Insert many rows by statements of several rows, as a statement for each row would be a round trip."""
    statement_compiler = MysqlCompiler
    execution_ctx_cls = MysqlExecutionContext
    isolation_levels: ClassVar = {
        "READ UNCOMMITTED": "read_uncommitted",
        "READ COMMITTED": "read_committed",
        "REPEATABLE READ": "repeatable_read",
        "SERIALIZABLE": "serializable",
        "AUTOCOMMIT": AUTOCOMMIT,
    }
    _sscursor = True
    """What SQLAlchemy passes to ``cursor`` for a server-side one."""

    @classmethod
    def import_dbapi(cls) -> Untyped:
        """Return the module of SQLAlchemy's own dialect, with the placeholders of prepared statements."""
        module: Untyped = super().import_dbapi()
        module.paramstyle = "qmark"
        return module

    def get_default_isolation_level(self, dbapi_conn: Untyped) -> IsolationLevel:
        """Return the level of transactions that name none, as the server is configured."""
        level: IsolationLevel = MySQLDialect.get_isolation_level(self, dbapi_conn)
        return level

    def get_isolation_level(self, dbapi_connection: Untyped) -> IsolationLevel:
        """Return the isolation level of *dbapi_connection*."""
        default = self.default_isolation_level
        if dbapi_connection.isolation is None and default is not None:
            return default
        return super().get_isolation_level(dbapi_connection)

    def reset_isolation_level(self, dbapi_conn: Untyped) -> None:
        """Use the level of the engine from the next statement on; without one, name none."""
        level = self._on_connect_isolation_level
        dbapi_conn.set_isolation(None if level is None else self.isolation_levels[level])

    def do_begin_twophase(self, connection: Connection, xid: str) -> None:
        """Raise InvalidRequestError."""
        raise InvalidRequestError("two-phase commit needs PostgreSQL here: use a session without twophase")

    def _detect_charset(self, connection: Connection) -> str:
        return CHARSET


class PooledMariaDialect(_MARIADB, PooledMysqlDialect):  # type: ignore[misc] # base from an untyped call
    """MariaDB."""

    supports_statement_cache = True
