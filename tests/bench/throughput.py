"""Requests per second that wrk gets from one process, and how soon, by interleaved rounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from statistics import median

from tests.bench.inprocess import Case
from tests.bench.row import Goal, Row
from tests.bench.served import Served
from tests.servers import Redis
from tests.tools import WrkResult

AT_LEAST = {
    "both_on": Goal("ratio", 0.92, "at least"),
    "stack_memory_cached": Goal("ratio", 2.0, "at least"),
    "stack_redis_near": Goal("ratio", 1.5, "at least"),
    "stack_redis_cached": Goal("ratio", 1.3, "at least"),
}
AT_MOST = {"stack_redis_cached": Goal("ratio", 2.2)}
"""Goals of a case: requests per second and 99th percentile over those of the first case."""


def measure(cases: Sequence[Case], rounds: int, seconds: int) -> list[Row]:
    """Return the median requests per second and 99th percentiles of the cases, with 64 connections."""
    found: dict[str, list[WrkResult]] = {case.module: [] for case in cases}
    with ExitStack() as stack:
        address = stack.enter_context(_redis()) if any(case.needs for case in cases) else ""
        servers = [stack.enter_context(Served(case, address)) for case in cases]
        for _ in range(rounds):
            for server in servers:
                found[server.case.module].append(server.load(seconds))
    return [*_rates(cases, found), *_latencies(cases, found)]


def _rates(cases: Sequence[Case], found: dict[str, list[WrkResult]]) -> Iterator[Row]:
    rates = {module: median(each.requests_per_second for each in results) for module, results in found.items()}
    bare = cases[0]
    for case in cases:
        rate, base = rates[case.module], rates[bare.module]
        goal = AT_LEAST.get(case.module)
        title = f"wrk, 64 connections: {case.title}"
        yield Row(case.plugin, title, rate, "requests/s", bare.title, rate - base, rate / base, goal)


def _latencies(cases: Sequence[Case], found: dict[str, list[WrkResult]]) -> Iterator[Row]:
    p99s = {module: median(each.p99 for each in results) * 1e3 for module, results in found.items()}
    bare = cases[0]
    for case in cases:
        p99, base = p99s[case.module], p99s[bare.module]
        goal = AT_MOST.get(case.module)
        yield Row(case.plugin, f"wrk, p99: {case.title}", p99, "ms", bare.title, p99 - base, p99 / base, goal)


@contextmanager
def _redis() -> Iterator[str]:
    with Redis() as server:
        yield server.url
