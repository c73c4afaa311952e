"""A connection to MySQL or MariaDB that sends values apart from SQL text.

asyncmy's cursors put values into the text of a statement by escaping them, in a way that depends on the charset and the
sql_mode of the session. Here each statement with values is a prepared one: a value never becomes SQL.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, time
from decimal import Decimal
from math import isfinite

from asyncmy import errors
from asyncmy.connection import Connection
from asyncmy.constants import CLIENT, SERVER_STATUS

from scalekit_pool.connections.driver import Arguments, Untyped, Value

# asyncmy, not aiomysql: four times as fast, prepared statements, and a cancelled read closes the connection.
_Connection: Untyped = Connection

RESET_CONNECTION = 0x1F
SET_OPTION = 0x1B
MULTI_STATEMENTS_ON, MULTI_STATEMENTS_OFF = b"\x00\x00", b"\x01\x00"
TOO_MANY_STATEMENTS = 1461
BAD_HANDSHAKE = 1043
MAX_STATEMENTS = 100
"""Prepared statements that a connection keeps: servers allow 16382 for all their clients."""

_PLAIN_PASSWORD_PLUGINS = (b"mysql_clear_password", b"dialog", b"mysql_old_password")
_PREPARED = re.compile(r"[\s(]*(?:SELECT|INSERT|UPDATE|DELETE|REPLACE|WITH)\b", re.IGNORECASE)
"""Statements that are prepared without values too, so that both kinds return the same values."""
_BULK = re.compile(r"\s*(?:INSERT|REPLACE|UPDATE|DELETE)\b(?!.*\bRETURNING\b)", re.IGNORECASE | re.DOTALL)
"""Statements that MariaDB runs for many rows at once."""
_WITH_OFFSET = (datetime, time)
_COLLECTIONS = (list, tuple, dict, set, frozenset)


class MysqlConnection(_Connection):  # type: ignore[misc] # base without types
    """A connection; *begun* has the statements that began its open transaction.

    *has_rolled_back* means that the server has rolled it back, because a statement in it had failed.
    """

    def __init__(self, *, requires_tls: bool, max_statements: int, **options: Value) -> None:
        super().__init__(**options)
        self.begun: Sequence[str] = ()
        self.has_rolled_back = False
        self._requires_tls = requires_tls
        self._max_statements = min(max_statements, MAX_STATEMENTS)
        self._statements: dict[str, Untyped] = {}

    @property
    def is_mariadb(self) -> bool:
        """Whether the server is a MariaDB."""
        return "mariadb" in self.server_version.lower()

    @property
    def is_usable(self) -> bool:
        """Whether the connection is not known to be closed."""
        return self.connected and not self._stream_broken

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open, as the server's last response says."""
        return bool(self.server_status & SERVER_STATUS.SERVER_STATUS_IN_TRANS)

    async def execute(self, sql: str, arguments: Arguments = ()) -> Untyped:
        """Run *sql* with one ``?`` for each of *arguments*; return asyncmy's result, the first of several."""
        if not arguments and not _PREPARED.match(sql):
            return await self._execute_text(sql)
        try:
            return await self._execute_prepared(await self.prepare_cached(sql), arguments)
        finally:
            if not self._max_statements:
                await self.forget_statements()

    async def execute_once(self, sql: str, arguments: Arguments) -> Untyped:
        """Run *sql* as ``execute`` does, without keeping its prepared statement."""
        statement = await self._prepare(sql)
        try:
            return await self._execute_prepared(statement, arguments)
        finally:
            await statement.close()

    async def execute_bulk(self, sql: str, rows: Sequence[Arguments]) -> bool:
        """Run *sql* once for each of *rows* by one message; return False, without having run it, if that cannot be.

        MySQL has no such message, and each column needs values of one type. MariaDB refuses statements without values
        in some executions and accepts them in others.
        """
        if not self._bulk_supported or not _BULK.match(sql) or not all(rows):
            return False
        for row in rows:
            check_arguments(row)
        statement = await self.prepare_cached(sql)
        try:
            await statement.execute_bulk(rows)
        except ValueError:  # raised before anything is sent
            return False
        return True

    async def _execute_prepared(self, statement: Untyped, arguments: Arguments) -> Untyped:
        check_arguments(arguments)
        try:
            return await statement.execute(arguments)
        except UnicodeEncodeError as error:
            raise errors.DataError(f"a value is not valid Unicode: {error.reason}") from None
        except errors.MySQLError:
            raise
        except Exception:
            self.close()  # it may have stopped within the response
            raise

    async def prepare_cached(self, sql: str) -> Untyped:
        """Return the prepared statement of *sql*."""
        statement = self._statements.pop(sql, None)
        if statement is None:
            statement = await self._prepare(sql)
            while len(self._statements) >= max(1, self._max_statements):
                await self._statements.pop(next(iter(self._statements))).close()
        self._statements[sql] = statement
        return statement

    async def forget_statements(self) -> None:
        """Close the prepared statements."""
        while self._statements:
            await self._statements.popitem()[1].close()

    async def reset_session(self) -> None:
        """Restore the session state of a new connection, except for the database in use and its settings."""
        self._statements.clear()  # the server forgets them too
        self.begun, self.has_rolled_back = (), False
        await self._execute_command(RESET_CONNECTION, b"")
        await self._read_ok_packet()

    async def allow_scripts(self, allowed: bool) -> None:
        """Accept several statements in one text, or a single one, as is the default."""
        await self._execute_command(SET_OPTION, MULTI_STATEMENTS_ON if allowed else MULTI_STATEMENTS_OFF)
        await self.read_packet()

    async def _execute_text(self, sql: str) -> Untyped:
        await self.query(sql)
        first = result = self._result
        while result.has_next:  # a procedure has several
            await self.next_result()
            result = self._result
        return first

    async def _prepare(self, sql: str) -> Untyped:
        try:
            return await self.prepare(sql)
        except errors.OperationalError as error:
            if error.args[0] != TOO_MANY_STATEMENTS or not self._statements:
                raise
        await self.forget_statements()
        return await self.prepare(sql)

    async def _request_authentication(self) -> Untyped:
        """Log in; a server without TLS gets no request for it, or nothing at all when TLS is required."""
        if self._ssl_context is not None and not self.server_capabilities & CLIENT.SSL:
            if self._requires_tls:
                raise errors.OperationalError(BAD_HANDSHAKE, "the server has no TLS, which sslmode requires")
            self._ssl_context: Untyped = None
            self._client_flag &= ~CLIENT.SSL
        self._client_flag &= ~CLIENT.MULTI_STATEMENTS
        return await super()._request_authentication()

    async def _process_auth(self, plugin_name: bytes, auth_packet: Untyped) -> Untyped:
        """Respond to the server's request for a method; over a connection without TLS never with the password."""
        if plugin_name in _PLAIN_PASSWORD_PLUGINS and not self._secure:
            name = plugin_name.decode()
            raise errors.OperationalError(BAD_HANDSHAKE, f"the server asks for the password by {name}, without TLS")
        return await super()._process_auth(plugin_name, auth_packet)


def check_arguments(arguments: Arguments) -> None:
    """Raise DataError for values that MySQL has no type for."""
    for value in arguments:
        if isinstance(value, int):
            if not -(2**63) <= value < 2**64:
                raise errors.DataError(f"an integer of {value.bit_length()} bits is out of range; 64 are the most")
        elif isinstance(value, float | Decimal):
            if not (value.is_finite() if isinstance(value, Decimal) else isfinite(value)):
                raise errors.DataError(f"{value} is no number of a column, which would be 0; use None")
        elif isinstance(value, _WITH_OFFSET) and value.utcoffset():
            raise errors.DataError(f"{type(value).__name__} with an offset, which columns lack; convert it to UTC")
        elif isinstance(value, _COLLECTIONS):
            raise errors.DataError(f"a {type(value).__name__} is no value of a column; convert it, as by json.dumps")
