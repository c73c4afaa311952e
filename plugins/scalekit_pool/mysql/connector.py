"""Open, reset and close connections to MySQL or MariaDB with asyncmy."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable

from asyncmy import errors
from asyncmy.constants import CLIENT

from scalekit_pool.connections.driver import DriverOptions
from scalekit_pool.connections.server_address import ServerAddress
from scalekit_pool.mysql.connection import MysqlConnection
from scalekit_pool.mysql.errors import code_of

logger = logging.getLogger("scalekit.pool")

CHARSET = "utf8mb4"
CLOSE_TIMEOUT = 1.0
"""Seconds in which a server must respond to a client that closes its connection."""
NO_SUCH_THREAD = 1094
LOGIN_REFUSALS = (1045, 1698, 1251, 2059)
"""Errors of the server or of asyncmy for a user, a password or a method of authentication."""
DATABASE_REFUSALS = (1044, 1049)
"""Errors for a database that does not exist, or that the user may not use."""
REFUSALS = LOGIN_REFUSALS + DATABASE_REFUSALS


OnOpen = Callable[[MysqlConnection], None]


class WrongServer(ConnectionError):
    """The server is a MySQL where the URL says MariaDB."""


class MysqlConnector:
    """Opens connections to *address*; those of a *read_only* database refuse to write.

    *on_open* receives each new connection.
    """

    def __init__(
        self,
        address: ServerAddress,
        options: DriverOptions,
        read_only: bool,
        on_open: Callable[[MysqlConnection], None],
    ) -> None:
        self._address = address
        self._options = options
        self._read_only = read_only
        self._on_open = on_open
        self._tls = ssl_context(options)
        self._kills: set[asyncio.Task[None]] = set()

    async def open(self) -> MysqlConnection:
        """Return a new connection, set up."""
        connection = await self._connect()
        try:
            await self._set_up(connection)
        except BaseException:
            connection.close()
            raise
        self._on_open(connection)
        return connection

    async def stop(self) -> None:
        """Wait until statements without a client are cancelled."""
        while self._kills:
            await asyncio.wait(self._kills)

    def is_open(self, connection: MysqlConnection) -> bool:
        """Return whether *connection* is not known to be closed."""
        return connection.is_usable

    async def reset(self, connection: MysqlConnection) -> None:
        """Restore the session state of a new connection; raise when that is not possible."""
        await connection.reset_session()
        await connection.select_db(self._address.database)
        await self._set_up(connection)

    async def close(self, connection: MysqlConnection) -> None:
        """Close *connection*, at once when the server does not respond."""
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await connection.ensure_closed()
        finally:
            connection.close()

    def kill(self, connection: MysqlConnection) -> None:
        """End the statement and the transaction of *connection*, which is closed, on the server.

        The server notices the lost client only when it responds; until then the statement runs and holds its locks.
        """
        task = asyncio.create_task(self._kill(connection.thread_id()), name="scalekit: cancel a statement")
        self._kills.add(task)
        task.add_done_callback(self._kills.discard)

    def explain(self, error: Exception) -> str:
        """Return why no connection could be opened."""
        cause = error.__cause__
        if isinstance(error, WrongServer):
            return str(error)
        if code_of(error) in LOGIN_REFUSALS:
            return f"{self._address} refuses the user or the password: {error.args[-1]}"
        if code_of(error) in DATABASE_REFUSALS:
            return f"{self._address} has no such database for this user: {error.args[-1]}"
        if isinstance(cause, socket.gaierror):
            return f"host name of {self._address} cannot be resolved: {cause.strerror}"
        if isinstance(cause, ConnectionRefusedError):
            return f"nothing listens at {self._address}"
        reason = error.args[-1] if isinstance(error, errors.MySQLError) and error.args else error
        return f"{self._address}: {type(error).__name__}: {reason}"

    async def _connect(self) -> MysqlConnection:
        connection = MysqlConnection(
            requires_tls=self._options.sslmode not in ("disable", "prefer"),
            max_statements=self._options.statement_cache_size,
            host=self._address.host,
            port=self._address.port,
            user=self._address.user,
            database=self._address.database,
            password=(self._address.current_password(self._options) or "").encode(),  # asyncmy encodes texts as latin1
            charset=CHARSET,
            ssl=self._tls,
            autocommit=None,
            client_flag=CLIENT.FOUND_ROWS,  # SQLAlchemy expects the number of rows that an UPDATE has found
            connect_timeout=self._options.limits.connect_timeout,
        )
        await connection.connect()
        return connection

    async def _set_up(self, connection: MysqlConnection) -> None:
        limit = self._options.statement_timeout
        milliseconds = max(1, round(limit * 1000))
        timeout = f"max_statement_time = {limit:f}" if connection.is_mariadb else f"max_execution_time = {milliseconds}"
        await connection.query(f"SET NAMES {CHARSET}, @@SESSION.autocommit = 1, @@SESSION.{timeout}")
        if self._read_only:
            await connection.query("SET SESSION TRANSACTION READ ONLY")

    async def _kill(self, thread: int) -> None:
        connection: MysqlConnection | None = None
        try:
            async with asyncio.timeout(self._options.limits.connect_timeout):
                connection = await self._connect()
                await connection.query(f"KILL {thread:d}")
        except Exception as error:
            if code_of(error) != NO_SUCH_THREAD:
                logger.debug("cannot cancel a statement on %s: %s", self._address, error)
        finally:
            if connection is not None:
                connection.close()


def ssl_context(options: DriverOptions) -> ssl.SSLContext | None:
    """Return the context of TLS, None without; raise OSError when sslrootcert cannot be loaded."""
    if options.sslmode == "disable":
        return None
    context = ssl.create_default_context(cafile=options.sslrootcert)
    context.check_hostname = options.sslmode == "verify-full"
    if options.sslmode == "prefer" or (options.sslmode == "require" and options.sslrootcert is None):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
