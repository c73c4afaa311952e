"""Create SQLAlchemy's engine on a database of the pool."""

from __future__ import annotations

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
    statements = StatementCache(database.compiler.parser)
    if database.dialect == "sqlite":
        from scalekit_pool.orm.sqlite import new_sqlite_cursor as new_cursor

        def raise_dbapi_error(error: Exception) -> None:
            """Do nothing: the errors of sqlite3 are those of its DBAPI."""
    else:
        from scalekit_pool.orm.postgres import new_postgres_cursor as new_cursor
        from scalekit_pool.orm.postgres import raise_postgres_error

        def raise_dbapi_error(error: Exception) -> None:
            raise_postgres_error(engine.dialect.dbapi, error)

    connect = partial(DbapiConnection, database, statements, find_router, new_cursor, raise_dbapi_error)
    engine = create_async_engine(f"{database.dialect}+scalekit://", pool=EnginePool(connect), hide_parameters=True)
    return engine
