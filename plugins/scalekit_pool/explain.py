"""Explain a statement without its values, which are not known.

PostgreSQL has a generic plan and SQLite a plan for any values. MySQL plans for values: it gets 1 for each.
"""

from __future__ import annotations

import asyncio
import re
from functools import partial
from secrets import token_hex

from scalekit_pool.connections.driver import Driver, RawConnection
from scalekit_pool.database import PooledDatabase
from scalekit_pool.fingerprint import TOKEN, count_placeholders, without_literals

TIMEOUT = 4.0
"""Seconds in which a plan must be made, including the wait for a connection."""
STATEMENT_TIMEOUT = 3000
"""Milliseconds after which PostgreSQL cancels a command, such as one that waits for a lock."""

_ESTIMATE = r"(?P<estimate>(?:\(cost=[\d.]+ rows=\d+ width=\d+\)|: \d+)(?=\n|\Z))"
"""Numbers of the planner, which end a line of a plan."""
_PLAN_TOKEN = re.compile(f"{_ESTIMATE}|{TOKEN.pattern}", TOKEN.flags)
_QUOTED = re.compile(r"[\"'`].*", re.DOTALL)
_PARAMETERS = "SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = $1"
_MYSQL_READ = re.compile(r"[\s(]*(?:SELECT|WITH)\b", re.IGNORECASE)
_PRUNED = "Subplans Removed"


async def explain(database: PooledDatabase, sql: str) -> str:
    """Return the plan of *sql*, a statement with the placeholders of its driver, without executing it.

    The plan has ``?`` for values. Raise TimeoutError, Unavailable, and the driver's errors.
    """
    plan_of = _PLANS[database.dialect]
    async with asyncio.timeout(TIMEOUT):
        session = database.detached_session(database.driver.readers)
        await session.enter()
        try:
            # MariaDB explains no write in a read-only transaction.
            readonly = database.dialect != "mysql" or _MYSQL_READ.match(sql) is not None
            async with session.transaction(readonly=readonly, force_rollback=True):
                return await session.command(partial(plan_of, sql=sql))
        finally:
            session.leave(dirty=database.dialect == "postgresql")  # a failure leaves a prepared statement


def reason_of(error: Exception) -> str:
    """Return why the database cannot explain a statement: the message of *error* without values and names."""
    message = str(error.args[-1]) if error.args else ""  # MySQL's errors begin with a number
    return f"{type(error).__name__}: {without_literals(_QUOTED.sub('…', message), 'postgresql')}"


async def _postgres_plan(driver: Driver, connection: RawConnection, sql: str) -> str:
    """Return the generic plan, as EXPLAIN (GENERIC_PLAN) does, which needs PostgreSQL 16 and asyncpg cannot run."""
    settings = f"SET LOCAL statement_timeout = {STATEMENT_TIMEOUT}; SET LOCAL plan_cache_mode = force_generic_plan"
    await driver.run(connection, settings)
    plan = await _explain_prepared(driver, connection, sql)
    if _PRUNED in plan:  # no partition has rows for NULL
        await driver.run(connection, "SET LOCAL enable_partition_pruning = off")
        plan = await _explain_prepared(driver, connection, sql)
    return plan_without_values(plan)


async def _explain_prepared(driver: Driver, connection: RawConnection, sql: str) -> str:
    name = f"scalekit_explain_{token_hex(8)}"
    # Not by `run`: the extended protocol accepts a single statement only.
    await driver.fetch_all(connection, f"PREPARE {name} AS {sql}", ())
    ((count,),) = await driver.fetch_all(connection, _PARAMETERS, (name,))
    values = f"({', '.join(['NULL'] * count)})" if count else ""
    rows = await driver.fetch_all(connection, f"EXPLAIN EXECUTE {name}{values}", ())
    await driver.run(connection, f"DEALLOCATE {name}")
    return "\n".join(row[0] for row in rows)


def plan_without_values(plan: str) -> str:
    """Return *plan*, text of PostgreSQL, with ``?`` in place of the values in its conditions."""
    return _PLAN_TOKEN.sub(lambda token: token["estimate"] or token["name"] or "?", plan)


async def _sqlite_plan(driver: Driver, connection: RawConnection, sql: str) -> str:
    rows = await driver.fetch_all(connection, f"EXPLAIN QUERY PLAN {sql}", [None] * count_placeholders(sql, "sqlite"))
    depths = {0: 0}
    lines: list[str] = []
    for number, parent, _, detail in rows:
        depths[number] = depths.get(parent, 0) + 1
        lines.append(f"{'  ' * (depths[number] - 1)}{detail}")
    return "\n".join(lines) or "no table is searched"


async def _mysql_plan(driver: Driver, connection: RawConnection, sql: str) -> str:
    """Return one line for each table, without conditions, which would show values."""
    rows = await driver.fetch_all(
        connection, f"EXPLAIN FORMAT=TRADITIONAL {sql}", ["1"] * count_placeholders(sql, "mysql")
    )
    return "\n".join(
        f"{row['select_type']} {row['table'] or 'no table'}: access {row['type']}, key {row['key']}, "
        f"{row['rows']} rows, {row['Extra']}"
        for row in rows
    )


_PLANS = {"postgresql": _postgres_plan, "sqlite": _sqlite_plan, "mysql": _mysql_plan}
