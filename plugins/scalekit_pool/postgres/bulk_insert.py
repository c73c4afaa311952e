"""Insert many rows into PostgreSQL by the fastest method.

COPY is several times as fast as INSERT, but supports neither ON CONFLICT nor RETURNING. Next comes one INSERT that
unnests one array for each column: its text is the same for any number of rows. Arrays and composite values cannot be
unnested by row, so such columns are inserted with VALUES.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scalekit_pool.driver import BulkInsert, names, quoted

Connection = Any  # asyncpg has no types

COPY_THRESHOLD = 8
"""Rows up to which COPY does not pay, since it takes two more round trips."""
MAX_PARAMETERS = 32_767


async def insert(connection: Connection, rows: Sequence[Sequence[Any]], plan: BulkInsert, timeout: float) -> Any:
    """Insert *rows*; return their number, or the rows that *plan* returns."""
    if len(rows) > COPY_THRESHOLD and not plan.skip_duplicates and not plan.returning:
        table = plan.table
        await connection.copy_records_to_table(
            table.name, schema_name=table.schema, columns=plan.columns, records=rows, timeout=timeout
        )
        return len(rows)
    types = await _column_types(connection, plan, timeout)
    if None in types:
        return await _insert_values(connection, rows, plan, timeout)
    arrays = ", ".join(f"${place}::{kind}[]" for place, kind in enumerate(types, 1))
    sql = f"INSERT INTO {plan.table} ({names(plan.columns)}) SELECT * FROM unnest({arrays}){plan.tail}"
    return await _run(connection, sql, list(zip(*rows, strict=True)), plan, timeout)


async def _column_types(connection: Connection, plan: BulkInsert, timeout: float) -> list[str | None]:
    """Return the types of the columns in PostgreSQL's spelling; None for those that cannot be unnested by row."""
    places = ", ".join(f"${place}" for place in range(1, len(plan.columns) + 1))
    sql = f"INSERT INTO {plan.table} ({names(plan.columns)}) VALUES ({places})"
    statement = await connection.prepare(sql, timeout=timeout)
    return [
        None if each.kind in ("array", "composite") else f"{quoted(each.schema)}.{quoted(each.name)}"
        for each in statement.get_parameters()
    ]


async def _insert_values(
    connection: Connection, rows: Sequence[Sequence[Any]], plan: BulkInsert, timeout: float
) -> Any:
    width = len(plan.columns)
    rows_per_statement = MAX_PARAMETERS // width
    results = []
    for begin in range(0, len(rows), rows_per_statement):
        chunk = rows[begin : begin + rows_per_statement]
        places = ", ".join(
            f"({', '.join(f'${row * width + column + 1}' for column in range(width))})" for row in range(len(chunk))
        )
        sql = f"INSERT INTO {plan.table} ({names(plan.columns)}) VALUES {places}{plan.tail}"
        values = [value for row in chunk for value in row]
        results.append(await _run(connection, sql, values, plan, timeout))
    return [row for status in results for row in status] if plan.returning else sum(results)


async def _run(connection: Connection, sql: str, values: Sequence[Any], plan: BulkInsert, timeout: float) -> Any:
    if plan.returning:
        return await connection.fetch(sql, *values, timeout=timeout)
    status = await connection.execute(sql, *values, timeout=timeout)
    return int(status.rpartition(" ")[2])
