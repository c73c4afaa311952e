"""A server-side cursor."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from struct import pack
from typing import Generic, TypeVar

from scalekit_pool.connections.driver import Arguments, Untyped, Value
from scalekit_pool.mysql.connection import MysqlConnection, check_arguments

R = TypeVar("R")

CHUNK = 100
"""Rows that are fetched at once."""
STATEMENT_FETCH = 0x1C
READ_ONLY_CURSOR = b"\x01"
"""The flag that follows the number of the statement in the command that executes it."""
CURSOR_EXISTS = 64

_READ = re.compile(r"[\s(]*(?:SELECT|WITH)\b", re.IGNORECASE)
"""Statements that may have a cursor: MariaDB 10.11 ends with a signal when it opens one for DELETE with RETURNING."""


class StatementCursor(Generic[R]):
    """The rows of *sql*, which the server keeps and *connection* fetches in chunks.

    *rows_of* returns the rows of a result of asyncmy. *description* has the columns once the cursor is open.
    """

    def __init__(self, connection: MysqlConnection, sql: str, rows_of: Callable[[Untyped], Sequence[R]]) -> None:
        self.description: Sequence[tuple[Value, ...]] | None = None
        self._connection = connection
        self._sql = sql
        self._rows_of = rows_of
        self._statement: Untyped = None
        self._result: Untyped = None

    async def open(self, arguments: Arguments) -> Sequence[R]:
        """Execute the statement; return the first rows, or all where the server makes no cursor."""
        check_arguments(arguments)
        # Without the second condition asyncmy would wait for the end of rows that do not follow.
        if not _READ.match(self._sql) or not self._connection._deprecate_eof:
            return self._first_rows(await self._connection.execute(self._sql, arguments))
        self._statement = statement = await self._connection.prepare(self._sql)
        header = statement._execute_header
        statement._execute_header = header[:4] + READ_ONLY_CURSOR + header[5:]
        self._result = result = await statement.execute(arguments)
        if not result.server_status & CURSOR_EXISTS:
            await self._close()
            return self._first_rows(result)
        self.description = result.description
        return await self.fetch()

    async def fetch(self, size: int = CHUNK) -> Sequence[R]:
        """Return the next *size* rows, none at the end."""
        if self._result is None:
            return []
        connection, result = self._connection, self._result
        await connection._execute_command(STATEMENT_FETCH, pack("<II", self._statement._statement_id, size))
        result.connection = connection
        await result._read_binary_rowdata_packet()
        rows = self._rows_of(result)
        if len(rows) < size:
            await self._close()
        return rows

    def _first_rows(self, result: Untyped) -> Sequence[R]:
        self.description = result.description
        return self._rows_of(result)

    async def _close(self) -> None:
        self._result = None
        await self._statement.close()
