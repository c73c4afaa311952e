"""The page of the health checks: the latest results in every worker, latencies, and changes of their status."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from scalekit.health.monitor import Monitor, Result, Status
from scalekit.pages.blocks import ActionForm, Badge, Block, Chart, Column, DataTable, Series, Tone, Unit
from scalekit.pages.page import ConsolePage, PageAction, PageGroup, PageView, Query

TONES = {Status.HEALTHY: Tone.GOOD, Status.UNHEALTHY: Tone.BAD, Status.DEGRADED: Tone.WARNING}
RESULTS = (
    Column("worker"),
    Column("check"),
    Column("status"),
    Column("critical"),
    Column("latency", Unit.SECONDS),
    Column("age", Unit.SECONDS),
    Column("last error"),
)
CHANGES = (Column("time", Unit.TIME), Column("worker"), Column("check"), Column("status"), Column("error"))


def health_page(monitor: Monitor) -> ConsolePage:
    """Return the page of the checks of *monitor*."""

    async def collect(query: Query) -> dict[str, Any]:
        now = asyncio.get_running_loop().time()
        return {name: _describe(monitor.status(name), result, now) for name, result in monitor.results.items()}

    async def render(view: PageView) -> Sequence[Block]:
        return [_results(view), ActionForm("check"), *_latencies(view, monitor.interval), _changes(view)]

    async def check_now(values: object) -> str:
        await monitor.check_once()
        failing = [name for critical in (True, False) for name in monitor.failing(critical=critical)]
        return f"not healthy: {', '.join(failing)}" if failing else "all checks are healthy"

    return ConsolePage(
        "health",
        "Health",
        render,
        collect,
        [PageAction("check", "Run all checks now", check_now, runs_in="all workers")],
        PageGroup.SERVICE,
        description="Results of the health checks in every worker, with latencies and changes of status.",
    )


def _describe(status: Status, result: Result, now: float) -> dict[str, Any]:
    return {
        "status": status,
        "critical": result.check.critical,
        "latency": result.latency,
        "age": now - result.at,
        "last_error": result.last_error,
        "latencies": [*result.latencies],
        "changes": [[each.at, each.status, each.error] for each in result.changes],
    }


def _status(text: str) -> Badge:
    return Badge(text, TONES.get(Status(text), Tone.NEUTRAL))


def _results(view: PageView) -> DataTable:
    rows = [
        (worker, name, _status(each["status"]), each["critical"], each["latency"], each["age"], each["last_error"])
        for worker, checks in view.workers.items()
        for name, each in checks.items()
    ]
    return DataTable(RESULTS, rows, "Checks", empty="no plugin has a health check")


def _latencies(view: PageView, interval: float) -> list[Chart]:
    names = dict.fromkeys(name for checks in view.workers.values() for name in checks)
    return [
        Chart(
            f"Latency of {name}",
            [Series(f"worker {worker}", checks[name]["latencies"]) for worker, checks in view.workers.items()],
            interval,
            Unit.SECONDS,
        )
        for name in names
    ]


def _changes(view: PageView) -> DataTable:
    found = [
        (at, worker, name, _status(status), error)
        for worker, checks in view.workers.items()
        for name, each in checks.items()
        for at, status, error in each["changes"]
    ]
    found.sort(key=lambda change: change[0], reverse=True)
    return DataTable(CHANGES, found, "Changes of status", empty="no status has changed since the start")
