"""Insert many rows by statements of several rows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from asyncmy import errors

from scalekit.contracts import Row
from scalekit_pool.connections.driver import Arguments, BulkInsert, Inserted, TableName, Untyped, Value
from scalekit_pool.mysql.connection import MysqlConnection
from scalekit_pool.mysql.result import row_class, rows_of

MAX_ROWS = 1000
MAX_PARAMETERS = 65_535
MAX_BYTES = 4 << 20
"""Bytes of texts in a statement; servers refuse packets above max_allowed_packet, 16 MiB by default."""
DUPLICATE_KEY = 1062

_INFO = re.compile(rb"Records: (\d+)  Duplicates: (\d+)")


async def insert(connection: MysqlConnection, rows: Sequence[Arguments], plan: BulkInsert) -> Inserted:
    """Insert *rows*; return their number, or the rows that *plan* returns."""
    if plan.returning and (plan.skip_duplicates or not connection.is_mariadb):
        return [row for each in rows for row in await _insert_row(connection, each, plan)]
    is_plain = not plan.returning and not plan.skip_duplicates
    count, returned = 0, list[Row]()
    for chunk in chunks(rows):
        if is_plain and await connection.execute_bulk(_insert_values(plan, 1), chunk):
            count += len(chunk)
            continue
        result = await _execute(connection, plan, chunk)
        if result is not None:
            count += _inserted(result)
            returned += rows_of(result)
    return returned if plan.returning else count


def chunks(rows: Sequence[Arguments]) -> Iterator[Sequence[Arguments]]:
    """Yield *rows* in parts that a statement can hold."""
    limit = max(1, min(MAX_ROWS, MAX_PARAMETERS // max(1, len(rows[0]))))
    start = size = 0
    for end, row in enumerate(rows):
        row_size = sum([len(value) for value in row if isinstance(value, str | bytes)])
        if end > start and (end - start >= limit or size + row_size > MAX_BYTES):
            yield rows[start:end]
            start, size = end, 0
        size += row_size
    yield rows[start:]


async def _execute(connection: MysqlConnection, plan: BulkInsert, rows: Sequence[Arguments]) -> Untyped:
    """Insert *rows* by one statement; return asyncmy's result, None when it is the only row and a duplicate."""
    sql = _insert_values(plan, len(rows))
    if plan.skip_duplicates and len(rows) > 1:  # not IGNORE, which accepts wrong values too
        column = quoted(plan.columns[0])
        sql += f" ON DUPLICATE KEY UPDATE {column} = {table_text(plan.table)}.{column}"
    if plan.returning and connection.is_mariadb:
        sql += f" RETURNING {names(plan.returning)}"
    try:
        run = connection.execute if len(rows) == 1 else connection.execute_once
        return await run(sql, [value for row in rows for value in row])
    except errors.IntegrityError as error:
        if plan.skip_duplicates and len(rows) == 1 and error.args[0] == DUPLICATE_KEY:
            return None
        raise


def _insert_values(plan: BulkInsert, count: int) -> str:
    places = ", ".join([f"({', '.join('?' * len(plan.columns))})"] * count)
    return f"INSERT INTO {table_text(plan.table)} ({names(plan.columns)}) VALUES {places}"


def _inserted(result: Untyped) -> int:
    """Return the number of inserted rows; a row that exists already counts as affected too."""
    found = _INFO.search(result.message or b"")
    return int(found[1]) - int(found[2]) if found else int(result.affected_rows)


async def _insert_row(connection: MysqlConnection, row: Arguments, plan: BulkInsert) -> list[Row]:
    """Insert *row*; return the columns that *plan* returns, which MySQL itself does not."""
    result = await _execute(connection, plan, [row])
    if result is None or connection.is_mariadb:
        return [] if result is None else rows_of(result)
    known: dict[str, Value] = dict(zip(plan.columns, row, strict=True))
    unknown = [name for name in plan.returning if name not in known]
    if len(unknown) > 1 or (unknown and not result.insert_id):
        raise errors.NotSupportedError(
            f"MySQL has no RETURNING: {', '.join(unknown)} of {plan.table.name} cannot be returned, only the columns "
            "that are inserted and a generated key"
        )
    known |= dict.fromkeys(unknown, result.insert_id)
    return [row_class(tuple(plan.returning))([known[name] for name in plan.returning])]


def table_text(table: TableName) -> str:
    """Return the name of *table* for SQL."""
    return f"{quoted(table.schema)}.{quoted(table.name)}" if table.schema else quoted(table.name)


def names(columns: Sequence[str]) -> str:
    """Return *columns* as a comma-separated list of quoted identifiers."""
    return ", ".join(quoted(column) for column in columns)


def quoted(name: str) -> str:
    """Return *name* quoted as an identifier."""
    return "`" + name.replace("`", "``") + "`"
