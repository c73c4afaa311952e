"""The tables of the page: figures by worker, and of all workers together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from scalekit.pages import Badge, Block, Cell, Column, DataTable, Facts, Link, Notice, Tone, Unit
from scalekit.telemetry import histogram_quantile
from scalekit_pool.metrics import BUCKETS
from scalekit_pool.migrations.runner import MigrationStatus

MAX_STATEMENTS = 50
"""Statements that are shown."""

Workers = Mapping[str, Any]
"""The data of each worker by its number."""

CONNECTIONS = (
    Column("pool"),
    Column("use", Unit.RATIO),
    Column("in use"),
    Column("maximum"),
    Column("idle"),
    Column("waiting"),
    Column("waits"),
    Column("95 % of waits", Unit.SECONDS),
    Column("refused"),
)
STATEMENTS = (
    Column("pool"),
    Column("statement", code=True),
    Column("count"),
    Column("time", Unit.SECONDS),
    Column("share", Unit.RATIO),
    Column("mean", Unit.SECONDS),
    Column("maximum", Unit.SECONDS),
    Column("rows"),
    Column("errors"),
    Column("plan"),
)
FINDINGS = (
    Column("route", code=True),
    Column("problem"),
    Column("statement", code=True),
    Column("line", code=True),
    Column("requests"),
    Column("last", Unit.TIME),
    Column("pool"),
)
REPLICA = (
    Column("replica"),
    Column("state"),
    Column("lag", Unit.SECONDS),
    Column("lag in bytes", Unit.BYTES),
    Column("reads"),
    Column("share", Unit.RATIO),
    Column("reason"),
)
MIGRATIONS = (Column("migration", code=True), Column("state"), Column("applied", Unit.TIME))


def problem_notices(workers: Workers) -> list[Block]:
    """Return why databases cannot be reached."""
    problems = {problem for each in workers.values() for problem in each["problems"]}
    return [Notice(problem, tone=Tone.BAD) for problem in sorted(problems)]


def connection_tables(workers: Workers) -> list[Block]:
    """Return the pools of all workers together, and by worker."""
    names = list(dict.fromkeys(name for each in workers.values() for name in each["pools"]))
    pools = {name: [each["pools"][name] for each in workers.values() if name in each["pools"]] for name in names}
    total = [_connection_row(name, parts) for name, parts in pools.items()]
    single = [
        (worker, *_connection_row(name, [pool]))
        for worker, each in workers.items()
        for name, pool in each["pools"].items()
    ]
    return [
        DataTable(CONNECTIONS, total, "Connections", empty="no database is open"),
        DataTable((Column("worker"), *CONNECTIONS), single, "Connections by worker", empty="no database is open"),
    ]


def _connection_row(name: str, parts: Sequence[Mapping[str, Any]]) -> tuple[Cell, ...]:
    total: dict[str, int] = {key: sum(each[key] for each in parts) for key in parts[0] if key != "waits"}
    waits = [sum(counts) for counts in zip(*(each["waits"] for each in parts), strict=True)]
    in_use, maximum = total["in_use"], total["max"]
    use = in_use / maximum
    return (
        name,
        use,
        in_use,
        maximum,
        total["idle"],
        total["waiting"],
        sum(waits),
        histogram_quantile(0.95, BUCKETS, waits),
        total["refused"],
    )


def statement_table(workers: Workers) -> DataTable:
    """Return the statements that take most time in all workers."""
    merged: dict[str, list[Any]] = {}
    for worker in workers.values():
        for identifier, pool, text, count, seconds, longest, rows, errors, explained in worker["statements"]:
            total = merged.setdefault(identifier, [pool, text, 0, 0.0, 0.0, 0, 0, False])
            total[2] += count
            total[3] += seconds
            total[4] = max(total[4], longest)
            total[5] += rows
            total[6] += errors
            total[7] = total[7] or explained
    slowest = sorted(merged.items(), key=lambda item: -item[1][3])
    whole = sum(worker["seconds"] for worker in workers.values())
    rows = [_statement_row(*item, whole) for item in slowest[:MAX_STATEMENTS]]
    more = max(0, len(slowest) - MAX_STATEMENTS)
    return DataTable(STATEMENTS, rows, "Statements by time", more, empty="no statement has run")


def _statement_row(identifier: str, total: Sequence[Any], whole: float) -> tuple[Cell, ...]:
    pool, text, count, seconds, longest, rows, errors, explained = total
    share = seconds / whole if whole else None
    link = Link("explain", "database", {"statement": identifier}) if explained else None
    return pool, text, count, seconds, share, seconds / count, longest, rows, errors, link


def finding_table(workers: Workers) -> DataTable:
    """Return the requests with too many statements, the latest first."""
    merged: dict[tuple[str, ...], tuple[int, float]] = {}
    for worker in workers.values():
        for *finding, count, last in worker["findings"]:
            before, earlier = merged.get(tuple(finding), (0, 0.0))
            merged[tuple(finding)] = (before + count, max(earlier, last))
    latest = sorted(merged.items(), key=lambda item: -item[1][1])
    rows = [
        (route, problem, statement, location, count, last, pool)
        for (pool, route, statement, problem, location), (count, last) in latest
    ]
    return DataTable(FINDINGS, rows, "N+1 queries and exceeded budgets")


def replica_tables(workers: Workers) -> list[Block]:
    """Return the replicas of all workers together and by worker, and the reads that the primary served instead."""
    names = list(dict.fromkeys(each["name"] for worker in workers.values() for each in worker["replicas"]))
    if not names:
        return []
    fallbacks: Counter[str] = Counter()
    for worker in workers.values():
        fallbacks.update(worker["fallbacks"])
    statuses = [(number, each) for number, worker in workers.items() for each in worker["replicas"]]
    reads = sum(each["reads"] for _, each in statuses) + fallbacks.total()
    total = [_replica_row([each for _, each in statuses if each["name"] == name], reads) for name in names]
    single = [(number, *_replica_row([each], _reads_of(workers[number]))) for number, each in statuses]
    shares = {reason: count / reads if reads else None for reason, count in fallbacks.items()}
    return [
        DataTable(REPLICA, total, "Replicas"),
        DataTable((Column("worker"), *REPLICA), single, "Replicas by worker"),
        Facts(shares, "Reads that went to the primary", dict.fromkeys(shares, Unit.RATIO)),
    ]


def _reads_of(worker: Mapping[str, Any]) -> float:
    return float(sum(each["reads"] for each in worker["replicas"]) + sum(worker["fallbacks"].values()))


def _replica_row(statuses: Sequence[Mapping[str, Any]], all_reads: float) -> tuple[Cell, ...]:
    excluded = [each["exclusion_reason"] for each in statuses if each["exclusion_reason"]]
    state = Badge("serves reads", Tone.GOOD)
    if excluded:
        some = len(excluded) < len(statuses)
        state = Badge(f"excluded in {len(excluded)} of {len(statuses)} workers" if some else "excluded", Tone.BAD)
    lags = [each["lag"] for each in statuses]
    reads = sum(each["reads"] for each in statuses)
    return (
        statuses[0]["name"],
        state,
        None if None in lags else max(lags),
        max(each["lag_bytes"] for each in statuses),
        reads,
        reads / all_reads if all_reads else None,
        excluded[0] if excluded else "",
    )


def migration_blocks(status: MigrationStatus) -> list[Block]:
    """Return the pending migrations, and the applied ones with the latest first."""
    pending = [(name, Badge("pending", Tone.WARNING), None) for name in status.pending]
    applied = [(name, Badge("applied", Tone.GOOD), time.timestamp() if time else None) for name, time in status.applied]
    table = DataTable(MIGRATIONS, [*pending, *applied], "Migrations", empty=status.error or "none")
    return [Notice(status.error), table] if status.error and applied else [table]
