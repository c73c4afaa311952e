"""Compare operations that are no requests, such as a query, by interleaved rounds."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack
from dataclasses import dataclass
from statistics import median
from typing import Literal

from tests.bench.row import Goal, Row
from tests.bench.worker_process import WorkerProcess

Operation = Callable[[int], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Case:
    """An operation, which *open* returns for an address; *at_once* of them run concurrently.

    *over* names the reference case, and *at_most* is the bound of the ratio. *kind* is the kind of server whose address
    is passed to *open*.
    """

    title: str
    kind: Literal["postgres", "sqlite", "redis", "cluster", "none"]
    open: Callable[[str], AbstractAsyncContextManager[Operation]]
    over: str = ""
    at_most: float = 0.0
    at_once: int = 16
    measured: Literal["cpu", "wall"] = "cpu"


def compare(
    module: str, plugin: str, cases: Mapping[str, Case], addresses: Mapping[str, str], rounds: int
) -> list[Row]:
    """Return a row of *plugin* for each of the *cases* that *module* has."""
    taken: dict[str, list[float]] = {name: [] for name in cases}
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(_worker(module, name, addresses[case.kind])) for name, case in cases.items()
        }
        numbers = {
            name: max(cases[name].at_once, int(0.1 / worker.repeat(1)["wall"])) for name, worker in workers.items()
        }
        for _ in range(rounds):
            for name, worker in workers.items():
                taken[name].append(worker.repeat(numbers[name])[cases[name].measured])
    return [_row(plugin, case, taken[name], cases, taken) for name, case in cases.items()]


def _worker(module: str, name: str, address: str) -> WorkerProcess:
    return WorkerProcess(name, [sys.executable, "-m", "tests.bench.operations", module, name, address])


def _row(
    plugin: str, case: Case, mine: list[float], cases: Mapping[str, Case], taken: Mapping[str, list[float]]
) -> Row:
    unit = "µs of CPU" if case.measured == "cpu" else "µs"
    figure = median(mine) * 1e6
    if not case.over:
        return Row(plugin, case.title, figure, unit)
    theirs = taken[case.over]
    more = median(one - other for one, other in zip(mine, theirs, strict=True)) * 1e6
    ratio = median(one / other for one, other in zip(mine, theirs, strict=True))
    goal = Goal("ratio", case.at_most) if case.at_most else None
    return Row(plugin, case.title, figure, unit, cases[case.over].title, more, ratio, goal)
