"""Insert many rows into PostgreSQL by the fastest method.

COPY is several times as fast as INSERT, but supports neither ON CONFLICT nor RETURNING. Next comes one INSERT that
unnests one array for each column: its text is the same for any number of rows. Arrays and composite values cannot be
unnested by row, so such columns are inserted with VALUES.
"""

from __future__ import annotations

from collections.abc import Sequence

from scalekit.contracts import Row
from scalekit_pool.connections.driver import Arguments, BulkInsert, Inserted, RawConnection, names, quoted

COPY_THRESHOLD = 8
"""Rows up to which COPY does not pay, since it takes two more round trips."""
MAX_PARAMETERS = 32_767


async def insert(connection: RawConnection, rows: Sequence[Arguments], plan: BulkInsert, timeout: float) -> Inserted:
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


async def _column_types(connection: RawConnection, plan: BulkInsert, timeout: float) -> list[str | None]:
    """Return the types of the columns in PostgreSQL's spelling; None for those that cannot be unnested by row."""
    places = ", ".join(f"${place}" for place in range(1, len(plan.columns) + 1))
    sql = f"INSERT INTO {plan.table} ({names(plan.columns)}) VALUES ({places})"
    statement = await connection.prepare(sql, timeout=timeout)
    return [
        None if each.kind in ("array", "composite") else f"{quoted(each.schema)}.{quoted(each.name)}"
        for each in statement.get_parameters()
    ]


async def _insert_values(
    connection: RawConnection, rows: Sequence[Arguments], plan: BulkInsert, timeout: float
) -> Inserted:
    width = len(plan.columns)
    rows_per_statement = MAX_PARAMETERS // width
    results: list[Inserted] = []
    for begin in range(0, len(rows), rows_per_statement):
        chunk = rows[begin : begin + rows_per_statement]
        places = ", ".join(
            f"({', '.join(f'${row * width + column + 1}' for column in range(width))})" for row in range(len(chunk))
        )
        sql = f"INSERT INTO {plan.table} ({names(plan.columns)}) VALUES {places}{plan.tail}"
        values = [value for row in chunk for value in row]
        results.append(await _run(connection, sql, values, plan, timeout))
    if plan.returning:
        return [row for rows in results if not isinstance(rows, int) for row in rows]
    return sum(count for count in results if isinstance(count, int))


async def _run(connection: RawConnection, sql: str, values: Arguments, plan: BulkInsert, timeout: float) -> Inserted:
    if plan.returning:
        returned: Sequence[Row] = await connection.fetch(sql, *values, timeout=timeout)
        return returned
    status = await connection.execute(sql, *values, timeout=timeout)
    return int(status.rpartition(" ")[2])
