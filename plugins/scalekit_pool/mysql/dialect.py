"""SQLAlchemy's dialect of MySQL and MariaDB, for statements with ``?`` for each value."""

from __future__ import annotations

from sqlalchemy.dialects.mysql.asyncmy import MySQLDialect_asyncmy
from sqlalchemy.dialects.mysql.base import MySQLCompiler
from sqlalchemy.dialects.mysql.mariadb import MariaDBDialect

from scalekit_pool.connections.driver import Untyped

_Compiler: Untyped = MySQLCompiler
_Mysql: Untyped = MySQLDialect_asyncmy
_MariaDB: Untyped = MariaDBDialect


class MysqlCompiler(_Compiler):  # type: ignore[misc] # base without types
    """Compiles statements that can be prepared."""

    def visit_frame_clause(self, frameclause: Untyped, **kw: Untyped) -> str:
        """Return the frame of a window, with values in the text: MariaDB has no placeholders there."""
        text: str = super().visit_frame_clause(frameclause, **{**kw, "literal_execute": True})
        return text


class _AdaptsToServer(_Mysql):  # type: ignore[misc] # base without types
    """A dialect that learns the version of the server without a connection of SQLAlchemy.

    It always doubles backslashes of literals in the text, which is safe in any ``sql_mode``; a session may change it.
    """

    supports_statement_cache = True
    statement_compiler = MysqlCompiler

    def adapt(self, version: str) -> None:
        """Compile for a server of *version*, as its handshake has it."""
        self.server_version_info = self._parse_server_version(version)
        initialize = self._initialize_mariadb if self.is_mariadb else self._initialize_mysql
        initialize(None)


class ScalekitMysqlDialect(_AdaptsToServer):
    """MySQL."""

    supports_statement_cache = True


class ScalekitMariaDialect(_MariaDB, _AdaptsToServer):  # type: ignore[misc] # base without types
    """MariaDB."""

    supports_statement_cache = True


def mysql_dialect(scheme: str) -> Untyped:
    """Return the dialect for a URL of *scheme*, ``mysql`` or ``mariadb``; it never connects."""
    kind = ScalekitMariaDialect if scheme == "mariadb" else ScalekitMysqlDialect
    return kind(dbapi=kind.import_dbapi(), paramstyle="qmark")
