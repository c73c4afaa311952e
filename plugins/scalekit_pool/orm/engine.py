"""Create SQLAlchemy's engine on a database of the pool."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sqlalchemy import Pool
from sqlalchemy.dialects import registry
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from scalekit_pool.connections.driver import Untyped
from scalekit_pool.database import PooledDatabase
from scalekit_pool.orm.dbapi import DbapiConnection, RouterLookup
from scalekit_pool.orm.statement_cache import StatementCache

MAX_IDLE = 100
"""Unused :class:`DbapiConnection` objects that are kept; none holds a connection to a server."""

registry.register("postgresql.scalekit", "scalekit_pool.orm.postgres", "PooledPostgresDialect")
registry.register("mysql.scalekit", "scalekit_pool.orm.mysql", "PooledMysqlDialect")
registry.register("mariadb.scalekit", "scalekit_pool.orm.mysql", "PooledMariaDialect")
registry.register("sqlite.scalekit", "scalekit_pool.orm.sqlite", "PooledSqliteDialect")


class EnginePool(Pool):
    """Keeps :class:`DbapiConnection` objects for reuse, without a limit: that of the connection pool holds."""

    def __init__(self, creator: Untyped, **options: Untyped) -> None:
        super().__init__(creator, **options)
        self._options = options
        self._idle: list[ConnectionPoolEntry] = []

    def status(self) -> str:
        """Return the number of unused objects."""
        return f"{len(self._idle)} idle"

    def recreate(self) -> EnginePool:
        """Return a new pool of the same kind."""
        return EnginePool(self._creator, dialect=self._dialect)

    def dispose(self) -> None:
        """Drop the unused objects."""
        self._idle.clear()

    def _do_get(self) -> ConnectionPoolEntry:
        return self._idle.pop() if self._idle else self._create_connection()

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        connection: Untyped = record.dbapi_connection
        if len(self._idle) < MAX_IDLE and not (connection is not None and connection.is_busy):
            self._idle.append(record)
        else:
            record.close()


def create_engine(database: PooledDatabase, find_router: RouterLookup) -> AsyncEngine:
    """Return an engine on the connections of *database*, which reads by the router that *find_router* returns."""
    pool = EnginePool(connection_factory(database, find_router))
    return create_async_engine(
        f"{database.driver.expression_dialect.name}+scalekit://", pool=pool, hide_parameters=True
    )


def connection_factory(database: PooledDatabase, find_router: RouterLookup) -> Callable[[], DbapiConnection]:
    """Return the function that SQLAlchemy calls for a new connection; it does no I/O."""
    statements = StatementCache(database.compiler.parser)
    if database.dialect == "sqlite":
        from scalekit_pool.orm.sqlite import new_sqlite_cursor, raise_sqlite_error

        return partial(DbapiConnection, database, statements, find_router, new_sqlite_cursor, raise_sqlite_error)
    if database.dialect == "mysql":
        from scalekit_pool.orm.mysql import new_mysql_cursor, raise_mysql_error

        return partial(DbapiConnection, database, statements, find_router, new_mysql_cursor, raise_mysql_error)
    from scalekit_pool.orm.postgres import PooledPostgresDialect, new_postgres_cursor, raise_postgres_error

    raise_error = partial(raise_postgres_error, PooledPostgresDialect.import_dbapi())
    return partial(DbapiConnection, database, statements, find_router, new_postgres_cursor, raise_error)
