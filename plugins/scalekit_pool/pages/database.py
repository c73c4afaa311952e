"""The page of the databases: connections, statements, findings, replicas, migrations, and plans of statements."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from heapq import nlargest
from math import isfinite
from typing import Any

from scalekit import Context, Unavailable
from scalekit.contracts import REPLICAS
from scalekit.pages import Block, Code, ConsolePage, DataTable, Notice, PageView
from scalekit_pool.explain import TIMEOUT, explain, reason_of
from scalekit_pool.pages.tables import (
    connection_tables,
    finding_table,
    migration_blocks,
    problem_notices,
    replica_tables,
    statement_table,
)
from scalekit_pool.records import DatabaseRecords
from scalekit_pool.statement_table import MAX_STATEMENTS, StatementStatistics, StatementTable

MAX_TEXT = 1_000
"""Characters of a statement in the table of the page."""


def database_page(context: Context, records: DatabaseRecords, migrations: str) -> ConsolePage:
    """Return the page of the databases of *records*; the migrations are in the folder *migrations*."""

    async def collect(query: Mapping[str, str]) -> dict[str, Any]:
        statements = [(each, table) for _, table in records.databases.values() for each in table.statements.values()]
        slowest = nlargest(MAX_STATEMENTS, statements, key=lambda item: item[0].seconds)
        evicted = sum(table.evicted_seconds for _, table in records.databases.values())
        replicas = context.get(REPLICAS) if context.has(REPLICAS) else None
        return {
            "pools": _describe_pools(records),
            "problems": _describe_problems(records),
            "statements": [_describe_statement(each, table) for each, table in slowest],
            "seconds": evicted + sum(each.seconds for each, _ in statements),
            "findings": [(*map(_encodable, each), *count) for each, count in records.findings.items()],
            "replicas": [_finite(asdict(each)) for each in replicas.states()] if replicas else [],
            "fallbacks": dict(replicas.fallbacks()) if replicas else {},
            "selected": _describe_selected(statements, query.get("statement", "")),
        }

    async def render(view: PageView) -> Sequence[Block]:
        workers = view.workers
        plan, files = await asyncio.gather(_plan_blocks(records, view), _migration_blocks(records, migrations))
        return [
            *plan,
            *problem_notices(workers),
            *connection_tables(workers),
            statement_table(workers),
            finding_table(workers),
            *replica_tables(workers),
            *files,
        ]

    description = "Connections and waits, slowest statements with their plans, N+1 findings, replicas and migrations."
    return ConsolePage("database", "Database", render, collect, description=description)


def _describe_pools(records: DatabaseRecords) -> dict[str, Any]:
    return {
        name: {
            "in_use": pool.supplier.size - pool.idle,
            "max": pool.limits.max_size,
            "idle": pool.idle,
            "waiting": pool.waiting,
            "waits": metrics.waits.counts,
            "refused": metrics.refusals,
        }
        for name, (pool, metrics) in records.pools.items()
    }


def _describe_problems(records: DatabaseRecords) -> list[str]:
    found = [
        (database.unreachable_reason, database.driver.server_problems) for database, _ in records.databases.values()
    ]
    return [problem for problems in found for problem in problems if problem]


def _describe_statement(statement: StatementStatistics, table: StatementTable) -> tuple[Any, ...]:
    return (
        statement.id,
        table.pool,
        statement.text[:MAX_TEXT],
        statement.count,
        statement.seconds,
        statement.max_seconds,
        statement.rows,
        statement.errors,
        bool(statement.sql),
    )


def _describe_selected(
    statements: Sequence[tuple[StatementStatistics, StatementTable]], identifier: str
) -> dict[str, str] | None:
    """Return the statement that the operator has selected, for the worker that explains it; it is not shown."""
    for each, table in statements:
        if each.id == identifier and each.sql:
            return {"pool": table.pool, "text": each.text, "sql": each.sql}
    return None


def _encodable(text: str) -> str:
    return text.encode(errors="replace").decode()


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return *values* with None in place of an infinite number, which JSON does not have."""
    return {name: None if isinstance(value, float) and not isfinite(value) else value for name, value in values.items()}


async def _plan_blocks(records: DatabaseRecords, view: PageView) -> list[Block]:
    """Return the plan of the statement that the query selects."""
    if not view.query.get("statement"):
        return []
    found = next((each["selected"] for each in view.workers.values() if each["selected"]), None)
    if found is None or found["pool"] not in records.databases:
        return [Notice("No worker has this statement any more.", "Select one of the statements below.")]
    shown = Code(found["text"], f"Statement of {found['pool']}")
    try:
        plan = await explain(records.databases[found["pool"]][0], found["sql"])
    except TimeoutError:
        return [shown, Notice(f"There was no plan within {TIMEOUT:g} s.", "Try again.")]
    except Unavailable as error:
        return [shown, Notice(f"The database is unavailable: {error.reason}")]
    except Exception as error:  # of the driver, which is not imported here
        return [shown, Notice("The statement cannot be explained without its values.", reason_of(error))]
    return [shown, Code(plan, "Plan, for any values")]


async def _migration_blocks(records: DatabaseRecords, directory: str) -> list[Block]:
    from scalekit_pool.migrations.source import migration_status  # loads the drivers

    if "primary" not in records.databases:
        return []
    database, _ = records.databases["primary"]
    try:
        async with asyncio.timeout(TIMEOUT):
            return migration_blocks(await migration_status(database, directory))
    except TimeoutError:
        reason = f"no result within {TIMEOUT:g} s"
    except Unavailable as error:
        reason = error.reason
    except Exception as error:
        reason = reason_of(error)
    return [Notice(f"Migrations are not known: {reason}"), DataTable((), (), "Migrations", empty="not known")]
