"""Run statements on MySQL or MariaDB with asyncmy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence

from asyncmy import errors

from scalekit import split_url
from scalekit.contracts import Row
from scalekit_pool.connections.driver import (
    WRITE_DOUBTS,
    Arguments,
    BulkInsert,
    DriverOptions,
    Failure,
    Inserted,
    RolledBack,
    T,
    TransactionOptions,
    Untyped,
    Value,
    WriteRefusal,
)
from scalekit_pool.connections.lifecycle import PoolObserver
from scalekit_pool.connections.pool import ConnectionPool
from scalekit_pool.connections.server_address import parse_server_address
from scalekit_pool.mysql.bulk_insert import chunks, insert
from scalekit_pool.mysql.connection import MysqlConnection
from scalekit_pool.mysql.connector import REFUSALS, MysqlConnector, WrongServer
from scalekit_pool.mysql.cursor import StatementCursor
from scalekit_pool.mysql.dialect import mysql_dialect
from scalekit_pool.mysql.errors import code_of, failure_of
from scalekit_pool.mysql.result import rows_of, value_of

PORT = 3306
CLIENT_TIMEOUT_SLACK = 1.0
"""Seconds that the client waits beyond the server's limit; MySQL itself limits SELECT only."""

_READ_ONLY_OFF = ("0", "OFF")
_TEST_WRITE = (
    "CREATE TEMPORARY TABLE scalekit_probe (text LONGTEXT) ENGINE = InnoDB",
    "INSERT INTO scalekit_probe VALUES (REPEAT(UUID(), 1000))",
    "DROP TEMPORARY TABLE scalekit_probe",
)


class MysqlDriver:
    """Runs statements on one server."""

    dialect = "mysql"
    write_doubts: Sequence[Failure] = WRITE_DOUBTS

    def __init__(self, url: str, options: DriverOptions, observer: PoolObserver, read_only: bool) -> None:
        address = parse_server_address(url, PORT)
        self.read_only = read_only
        self.write_doubt: Failure | None = None
        self.expression_dialect: Untyped = mysql_dialect(split_url(url).scheme)
        self._connector = MysqlConnector(address, options, read_only, self._learn_version)
        target = f"{address}/{address.database}"
        self.writers: ConnectionPool[MysqlConnection] = ConnectionPool(
            target, self._connector, options.limits, observer
        )
        self.readers = self.writers
        self.timeout = options.statement_timeout + CLIENT_TIMEOUT_SLACK

    async def fetch_all(self, connection: MysqlConnection, sql: str, arguments: Arguments) -> Sequence[Row]:
        """Return all rows."""
        return rows_of(await self.result(connection, sql, arguments))

    async def fetch_one(self, connection: MysqlConnection, sql: str, arguments: Arguments) -> Row | None:
        """Return the first row, or None."""
        rows = rows_of(await self.result(connection, sql, arguments))
        return rows[0] if rows else None

    async def execute(self, connection: MysqlConnection, sql: str, arguments: Arguments) -> Value:
        """Return the first column of the first row, else a generated key, else the number of rows."""
        return value_of(await self.result(connection, sql, arguments))

    async def execute_many(self, connection: MysqlConnection, sql: str, arguments: Sequence[Arguments]) -> None:
        """Run *sql* once for each of *arguments*."""
        for chunk in chunks(arguments):
            if not await self.call(connection, connection.execute_bulk(sql, chunk)):
                for each in chunk:
                    await self.result(connection, sql, each)

    async def stream(
        self, connection: MysqlConnection, sql: str, arguments: Arguments
    ) -> AsyncGenerator[Sequence[Row], None]:
        """Yield rows through a server-side cursor, so that other statements can run on the connection meanwhile."""
        cursor = StatementCursor(connection, sql, rows_of)
        rows = await self.call(connection, cursor.open(arguments))
        while rows:
            yield rows
            rows = await self.call(connection, cursor.fetch())

    async def insert_many(self, connection: MysqlConnection, rows: Sequence[Arguments], plan: BulkInsert) -> Inserted:
        """Insert *rows* by statements of several rows."""
        return await self.call(connection, insert(connection, rows, plan))

    async def result(self, connection: MysqlConnection, sql: str, arguments: Arguments) -> Untyped:
        """Return asyncmy's result."""
        return await self.call(connection, connection.execute(sql, arguments))

    async def call(self, connection: MysqlConnection, work: Coroutine[object, None, T]) -> T:
        """Return the result of *work*, statements in the transaction of *connection* if one was begun."""
        if connection.has_rolled_back:
            work.close()
            raise RolledBack("the transaction was rolled back by the server, because a statement in it failed")
        try:
            async with asyncio.timeout(self.timeout):
                result = await work
        except (asyncio.CancelledError, TimeoutError):
            self._connector.kill(connection)
            raise
        except errors.MySQLError:
            if connection.begun:
                await self._find_out_rollback(connection)
            raise
        if connection.begun and not connection.in_transaction:  # DDL has committed it
            for sql in connection.begun:
                await connection.execute(sql)
        return result

    async def listen(self, channel: str, on_payload: Callable[[str], None]) -> None:
        """Raise NotImplementedError: MySQL sends no notifications."""
        raise NotImplementedError("MySQL sends no notifications; poll its tables")

    async def begin(self, connection: MysqlConnection, options: TransactionOptions) -> None:
        """Begin a transaction; *options* are isolation and readonly."""
        begun = _begin(**options)
        for sql in begun:
            await self.run(connection, sql)
        connection.begun = begun

    async def commit(self, connection: MysqlConnection) -> None:
        """Commit; raise RolledBack when the server has rolled back, as it does after a deadlock."""
        await self._end(connection, "COMMIT")

    async def rollback(self, connection: MysqlConnection) -> None:
        """Roll back, unless the server has done so already."""
        try:
            await self._end(connection, "ROLLBACK")
        except RolledBack:
            pass

    async def run(self, connection: MysqlConnection, sql: str) -> None:
        """Run *sql*."""
        await self.result(connection, sql, ())

    def classify_error(self, error: BaseException, connection: MysqlConnection | None) -> Failure:
        """Return the failure that *error*, raised by *connection*, means."""
        return Failure.STATEMENT if isinstance(error, RolledBack) else failure_of(error, self.read_only)

    def read_only_reason(self, connection: MysqlConnection) -> str:
        """Return why *connection*, which refused a write, takes none."""
        return "the server's read_only is on"

    async def schema_changed(self, connection: MysqlConnection) -> None:
        """Do nothing: the server prepares statements again itself."""

    async def reload_schema(self, connection: MysqlConnection) -> None:
        """Close the prepared statements of *connection*."""
        await connection.forget_statements()

    async def write_refusal(self, connection: MysqlConnection, write_doubt: Failure | None) -> WriteRefusal | None:
        """Return why the server takes no writes, or None; after a full disk, write a temporary table to find out."""
        result = await self.result(connection, "SELECT @@global.read_only", ())
        if str(result.rows[0][0]) not in _READ_ONLY_OFF:
            return WriteRefusal(f"the server takes no writes: {self.read_only_reason(connection)}", True)
        if write_doubt is Failure.UNWRITABLE:
            try:
                for sql in _TEST_WRITE:
                    await self.run(connection, sql)
            except errors.MySQLError as error:
                if self.classify_error(error, connection) is not Failure.UNWRITABLE:
                    raise
                return WriteRefusal(f"the server takes no writes: {error.args[-1]}", False)
        return None

    def is_permanent_error(self, error: Exception) -> bool:
        """Return whether the server refuses the user, the password or the database, or is not a MariaDB."""
        return isinstance(error, WrongServer) or code_of(error) in REFUSALS

    def enable_writes(self, connection: MysqlConnection) -> None:
        """Do nothing: every connection may write."""

    @property
    def server_problems(self) -> str:
        """Empty: there are no other servers."""
        return ""

    def interrupt(self, connection: MysqlConnection) -> None:
        """Do nothing: a statement is cancelled on the server when its task is cancelled."""

    async def _find_out_rollback(self, connection: MysqlConnection) -> None:
        """Ask whether the transaction is still open after an error, which does not say it."""
        try:
            async with asyncio.timeout(self.timeout):
                await connection.ping(reconnect=False)
        except errors.MySQLError:
            return
        connection.has_rolled_back = not connection.in_transaction

    async def _end(self, connection: MysqlConnection, sql: str) -> None:
        connection.begun = ()
        try:
            await self.run(connection, sql)
        finally:
            connection.has_rolled_back = False

    def _learn_version(self, connection: MysqlConnection) -> None:
        """Compile for the server of *connection*; raise WrongServer when that is not possible."""
        if self.expression_dialect.is_mariadb and not connection.is_mariadb:
            raise WrongServer(f"{self.writers.target} is a MySQL {connection.server_version}; write mysql:// in url")
        self.expression_dialect.adapt(connection.server_version)


def _begin(isolation: str | None = None, readonly: bool = False, deferrable: bool = False) -> Sequence[str]:
    """Return the statements that begin a transaction; PostgreSQL's *deferrable* has no meaning here."""
    level = f"SET TRANSACTION ISOLATION LEVEL {isolation.replace('_', ' ').upper()}" if isolation else ""
    start = f"START TRANSACTION{' READ ONLY' if readonly else ''}"
    return (level, start) if level else (start,)
