"""CPU time and memory of four preloaded workers, compared with four that import for themselves."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from scalekit.runner.memory.usage import pss
from tests.bench.peers import python_of_a_user
from tests.bench.row import Goal, Row
from tests.processes import family, wait_for
from tests.production import Instance, Servers

WORKERS = 4
APART, FORKED = "each imports for itself", "forked from one that has imported"
TICKS = os.sysconf("SC_CLK_TCK")


class Workers(Instance):
    """Four workers of the sample, with the packages that a user has."""

    def command(self) -> list[object]:
        return [python_of_a_user(), "-m", "scalekit", "run", self.file, *self.options]

    def prepare(self) -> None:
        super().prepare()
        self.box.environment["PYTHONPATH"] = str(self.file.parent.parent)

    def is_ready(self) -> bool:
        return any(" workers on http" in log.read_text() for log in self.box.directory.rglob("*.log"))


@dataclass(frozen=True, slots=True)
class Taken:
    """MiB that are in memory when all serve, shared ones counted in part, and ms of CPU until then."""

    memory: float
    cpu: float


def measure(rounds: int) -> list[Row]:
    """Return CPU time and memory of the workers and their fork server, with all ten plugins and their servers."""
    taken: dict[str, list[Taken]] = {APART: [], FORKED: []}
    with ExitStack() as stack:
        environment = Servers().start(stack)
        for _ in range(rounds):
            for title, preload in ((APART, "false"), (FORKED, "true")):
                overrides = (f"server.workers={WORKERS}", f"server.preload={preload}", "server.drain_delay=0s")
                with Workers("production.toml", "PORT", environment, overrides) as service:
                    wait_for("a response", service.is_ready)
                    taken[title].append(_taken(family(service.pid)[1:]))
    return list(_rows(taken))


def _taken(pids: list[int]) -> Taken:
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    cpu = sum(int(each[11]) + int(each[12]) for each in fields) / TICKS
    return Taken(sum(map(pss, pids)) / 2**20, cpu * 1e3)


def _rows(taken: dict[str, list[Taken]]) -> Iterator[Row]:
    memory = {title: median(each.memory for each in found) for title, found in taken.items()}
    cpu = {title: median(each.cpu for each in found) for title, found in taken.items()}
    for figure, unit, found, limit in (("memory", "MiB", memory, 0.45), ("start", "ms of CPU", cpu, 0.5)):
        base, forked = found[APART], found[FORKED]
        titles = {title: f"{figure} of {WORKERS} workers with all ten plugins, {title}" for title in found}
        yield Row("stack", titles[APART], base, unit)
        yield Row(
            "stack", titles[FORKED], forked, unit, titles[APART], forked - base, forked / base, Goal("ratio", limit)
        )
