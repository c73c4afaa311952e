"""CPU per request, in process, by interleaved rounds."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Literal

from tests.bench.peers import python_of
from tests.bench.row import Goal, Row
from tests.bench.worker_process import WorkerProcess

WORKER = Path(__file__).parent / "worker.py"
WARM_UP = 2000
UNIT = "µs of CPU"


@dataclass(frozen=True, slots=True)
class Case:
    """A module of ``cases/``, its title, its environment and its goal.

    *over* is the module of the reference. *plugin* is the plugin that the case measures, empty for the host.
    *needs* is the kind of server whose address is passed to it. With *statements* figures are those of each of so many
    statements that a request runs.
    """

    module: str
    title: str
    plugin: str = ""
    peer: str = ""
    goal: Goal | None = None
    over: str = "starlette_bare"
    needs: Literal["", "redis", "cluster"] = ""
    statements: int = 0


@dataclass(frozen=True, slots=True)
class Overhead:
    """How many times the overhead of *ours* that of a *peer* is, each over its own base; at least *least*."""

    title: str
    plugin: str
    peer: str
    ours: str
    least: float


@dataclass(slots=True)
class Measured:
    """The CPU seconds a request, or a statement, of each round."""

    case: Case
    rounds: list[float] = field(default_factory=list)

    def more_than(self, other: Measured) -> float:
        """Return the median of the differences to *other*, round by round, in µs."""
        return median(mine - theirs for mine, theirs in zip(self.rounds, other.rounds, strict=True)) * 1e6

    def row(self, other: Measured) -> Row:
        """Return the row that compares it with *other*."""
        case, more = self.case, self.more_than(other)
        ratio = median(mine / theirs for mine, theirs in zip(self.rounds, other.rounds, strict=True))
        unit = f"{UNIT} a statement" if case.statements else UNIT
        return Row(case.plugin, case.title, median(self.rounds) * 1e6, unit, other.case.title, more, ratio, case.goal)


def measure(
    cases: Sequence[Case], overheads: Sequence[Overhead], addresses: Mapping[str, str], rounds: int, seconds: float
) -> list[Row]:
    """Run interleaved rounds of about *seconds*, so that other load on the machine affects all cases alike.

    The cases find the *addresses* of servers in their environment, such as ``BENCH_REDIS``.
    """
    measured = {case.module: Measured(case) for case in cases}
    with ExitStack() as stack:
        workers = {case.module: stack.enter_context(_worker(case, addresses)) for case in cases}
        numbers = {name: max(200, int(seconds / worker.repeat(WARM_UP)["cpu"])) for name, worker in workers.items()}
        for _ in range(rounds):
            for name, worker in workers.items():
                divisor = measured[name].case.statements or 1
                measured[name].rounds.append(worker.repeat(numbers[name])["cpu"] / divisor)
    rows = [each.row(measured[each.case.over]) for each in measured.values()]
    return rows + [_compared(each, measured) for each in overheads if {each.peer, each.ours} <= measured.keys()]


def _worker(case: Case, addresses: Mapping[str, str]) -> WorkerProcess:
    python = python_of(case.peer) if case.peer else sys.executable
    environment = {**os.environ, **{f"BENCH_{kind.upper()}": address for kind, address in addresses.items()}}
    return WorkerProcess(case.module, [python, str(WORKER), case.module], environment)


def _compared(overhead: Overhead, measured: Mapping[str, Measured]) -> Row:
    theirs, ours = measured[overhead.peer], measured[overhead.ours]
    more, own = theirs.more_than(measured[theirs.case.over]), ours.more_than(measured[ours.case.over])
    goal = Goal("ratio", overhead.least, "at least")
    ratio = more / own if own > 0 else float("inf")  # a cached response may be cheaper than the reference
    return Row(overhead.plugin, overhead.title, more, UNIT, ours.case.title, more - own, ratio, goal)
