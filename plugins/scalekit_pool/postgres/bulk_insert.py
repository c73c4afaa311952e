"""The fastest way to put rows into PostgreSQL.

COPY is several times as fast as any INSERT, but takes no ON CONFLICT and gives nothing back. Next comes one INSERT that
unnests an array for each column: two parameters more or less do not matter then, and the statement stays the same for
any number of rows. Columns that are arrays or composites cannot be unnested by the row, so those go in as VALUES.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scalekit_pool.driver import Insertion, names, quoted

Connection = Any  # asyncpg has no types

FEW = 8
"""So many rows are not worth the two trips more that COPY takes."""
MOST_PARAMETERS = 32_767


async def insert(connection: Connection, rows: Sequence[Sequence[Any]], how: Insertion, deadline: float) -> Any:
    """Insert *rows*; return how many went in, or the rows that *how* wants back."""
    if len(rows) > FEW and not how.skip_duplicates and not how.returning:
        target = how.target
        await connection.copy_records_to_table(
            target.name, schema_name=target.schema, columns=how.columns, records=rows, timeout=deadline
        )
        return len(rows)
    types = await _types(connection, how, deadline)
    if None in types:
        return await _insert_values(connection, rows, how, deadline)
    arrays = ", ".join(f"${place}::{kind}[]" for place, kind in enumerate(types, 1))
    sql = f"INSERT INTO {how.target} ({names(how.columns)}) SELECT * FROM unnest({arrays}){how.tail}"
    return await _run(connection, sql, list(zip(*rows, strict=True)), how, deadline)


async def _types(connection: Connection, how: Insertion, deadline: float) -> list[str | None]:
    """Return the types of the columns, as PostgreSQL spells them; None where values cannot be unnested by the row."""
    places = ", ".join(f"${place}" for place in range(1, len(how.columns) + 1))
    sql = f"INSERT INTO {how.target} ({names(how.columns)}) VALUES ({places})"
    statement = await connection.prepare(sql, timeout=deadline)
    return [
        None if each.kind in ("array", "composite") else f"{quoted(each.schema)}.{quoted(each.name)}"
        for each in statement.get_parameters()
    ]


async def _insert_values(connection: Connection, rows: Sequence[Sequence[Any]], how: Insertion, deadline: float) -> Any:
    width = len(how.columns)
    at_once = MOST_PARAMETERS // width
    answers = []
    for begin in range(0, len(rows), at_once):
        chunk = rows[begin : begin + at_once]
        places = ", ".join(
            f"({', '.join(f'${row * width + column + 1}' for column in range(width))})" for row in range(len(chunk))
        )
        sql = f"INSERT INTO {how.target} ({names(how.columns)}) VALUES {places}{how.tail}"
        values = [value for row in chunk for value in row]
        answers.append(await _run(connection, sql, values, how, deadline))
    return [row for answer in answers for row in answer] if how.returning else sum(answers)


async def _run(connection: Connection, sql: str, values: Sequence[Any], how: Insertion, deadline: float) -> Any:
    if how.returning:
        return await connection.fetch(sql, *values, timeout=deadline)
    answer = await connection.execute(sql, *values, timeout=deadline)
    return int(answer.rpartition(" ")[2])
