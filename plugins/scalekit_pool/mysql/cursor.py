"""A server-side cursor."""

from __future__ import annotations

import re
from collections.abc import Sequence
from struct import pack

from scalekit.contracts import Row
from scalekit_pool.connections.driver import Arguments, Untyped
from scalekit_pool.mysql.connection import MysqlConnection, check_arguments
from scalekit_pool.mysql.result import rows_of

CHUNK = 100
"""Rows that are fetched at once."""
STATEMENT_FETCH = 0x1C
READ_ONLY_CURSOR = b"\x01"
"""The flag that follows the number of the statement in the command that executes it."""
CURSOR_EXISTS = 64

_READ = re.compile(r"[\s(]*(?:SELECT|WITH)\b", re.IGNORECASE)
"""Statements that may have a cursor: MariaDB 10.11 ends with a signal when it opens one for DELETE with RETURNING."""


class StatementCursor:
    """The rows of *sql*, which the server keeps and *connection* fetches in chunks."""

    def __init__(self, connection: MysqlConnection, sql: str) -> None:
        self._connection = connection
        self._sql = sql
        self._statement: Untyped = None
        self._result: Untyped = None

    async def open(self, arguments: Arguments) -> Sequence[Row]:
        """Execute the statement; return the first rows, or all where the server makes no cursor."""
        check_arguments(arguments)
        # Without the second condition asyncmy would wait for the end of rows that do not follow.
        if not _READ.match(self._sql) or not self._connection._deprecate_eof:
            return rows_of(await self._connection.execute(self._sql, arguments))
        self._statement = statement = await self._connection.prepare(self._sql)
        header = statement._execute_header
        statement._execute_header = header[:4] + READ_ONLY_CURSOR + header[5:]
        self._result = await statement.execute(arguments)
        if not self._result.server_status & CURSOR_EXISTS:
            rows = rows_of(self._result)
            await self._close()
            return rows
        return await self.fetch()

    async def fetch(self) -> Sequence[Row]:
        """Return the next rows, none at the end."""
        if self._result is None:
            return []
        connection, result = self._connection, self._result
        await connection._execute_command(STATEMENT_FETCH, pack("<II", self._statement._statement_id, CHUNK))
        result.connection = connection
        await result._read_binary_rowdata_packet()
        rows = rows_of(result)
        if len(rows) < CHUNK:
            await self._close()
        return rows

    async def _close(self) -> None:
        self._result = None
        await self._statement.close()
