"""The parts of SQLAlchemy's dialects that are the same for all databases on the connections of the pool."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from sqlalchemy import URL, Connection, Pool
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.engine.interfaces import IsolationLevel
from sqlalchemy.exc import ArgumentError

from scalekit_pool.connections.driver import RawConnection, Untyped
from scalekit_pool.filters import CURRENT_REQUEST
from scalekit_pool.orm.dbapi import DbapiConnection


class PooledDialect(DefaultDialect):
    """Controls a :class:`DbapiConnection`; the pool sets up connections, and notices those that are lost.

    *isolation_levels* has the names of isolation levels in BEGIN, and None for the default, whose BEGIN is deferred.
    """

    is_async = True
    has_terminate = True
    isolation_levels: ClassVar[Mapping[IsolationLevel, str | None]]

    def get_dialect_pool_class(self, url: URL) -> type[Pool]:
        """Raise ArgumentError: an engine that is created by its URL alone has no connections."""
        raise ArgumentError(
            f"{self.name}+{self.driver} runs on the connections of the plugin pool: use SESSION(request), "
            f"or database.sessions() outside of requests, instead of an engine of {url.render_as_string()}"
        )

    def initialize(self, connection: Connection) -> None:
        """Query the version and the default schema once, for no request in particular."""
        token = CURRENT_REQUEST.set(None)
        try:
            super().initialize(connection)
        finally:
            CURRENT_REQUEST.reset(token)

    def on_connect(self) -> None:
        """Do nothing: the connections are shared with other users of the pool."""

    def do_ping(self, dbapi_connection: Untyped) -> bool:
        """Return True after a query."""
        return DefaultDialect.do_ping(self, dbapi_connection)

    def is_disconnect(self, e: object, connection: object, cursor: object) -> bool:
        """Return False: the pool replaces lost connections, and the application gets Unavailable."""
        return False

    def do_terminate(self, dbapi_connection: Untyped) -> None:
        """Release the connection in any state."""
        dbapi_connection.terminate()

    def get_driver_connection(self, connection: Untyped) -> RawConnection:
        """Return the connection of asyncpg, aiosqlite or asyncmy."""
        return connection.driver_connection

    def get_isolation_level_values(self, dbapi_conn: Untyped) -> list[IsolationLevel]:
        """Return the names of the isolation levels."""
        return list(self.isolation_levels)

    def get_isolation_level(self, dbapi_connection: Untyped) -> IsolationLevel:
        """Return the isolation level of *dbapi_connection*."""
        isolation = dbapi_connection.isolation
        return next(level for level, name in self.isolation_levels.items() if name == isolation)

    def set_isolation_level(self, dbapi_connection: Untyped, level: IsolationLevel) -> None:
        """Use *level* from the next statement on."""
        dbapi_connection.set_isolation(self.isolation_levels[level])

    def detect_autocommit_setting(self, dbapi_conn: Untyped) -> bool:
        """Return whether *dbapi_conn* has no transactions."""
        return bool(dbapi_conn.autocommit)

    def do_savepoint(self, connection: Connection, name: str) -> None:
        """Set a savepoint."""
        self._control(connection, "SAVEPOINT", name)

    def do_rollback_to_savepoint(self, connection: Connection, name: str) -> None:
        """Roll back to a savepoint."""
        self._control(connection, "ROLLBACK TO SAVEPOINT", name)

    def do_release_savepoint(self, connection: Connection, name: str) -> None:
        """Release a savepoint."""
        self._control(connection, "RELEASE SAVEPOINT", name)

    def _control(self, connection: Connection, operation: str, name: str) -> None:
        savepoint = self.identifier_preparer.quote(name)
        dbapi: DbapiConnection = connection.connection.dbapi_connection  # type: ignore[assignment] # our pool's
        try:
            dbapi.control(f"{operation} {savepoint}", operation)
        except BaseException as error:
            connection._handle_dbapi_exception(error, None, None, None, None)
