"""Compare operations that are no requests, such as a query, by interleaved rounds."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack
from dataclasses import dataclass
from statistics import median
from typing import Literal

Operation = Callable[[int], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Case:
    """One way to do something: *open* an address to get the operation, which is repeated *at_once* at a time.

    *over* names the case that it is compared with, and *at_most* is what the ratio is held to. *kind* says whose
    address it is given.
    """

    title: str
    kind: Literal["postgres", "sqlite", "redis", "cluster", "none"]
    open: Callable[[str], AbstractAsyncContextManager[Operation]]
    over: str = ""
    at_most: float = 0.0
    at_once: int = 16
    measured: Literal["cpu", "wall"] = "cpu"


def compare(module: str, cases: Mapping[str, Case], addresses: Mapping[str, str], rounds: int) -> dict[str, float]:
    """Print a row for each of the *cases* that *module* has, and return the microseconds of each by its title."""
    taken: dict[str, list[float]] = {name: [] for name in cases}
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(_Worker(module, name, addresses[case.kind])) for name, case in cases.items()
        }
        numbers = {
            name: max(cases[name].at_once, int(0.1 / worker.repeat(1)["wall"])) for name, worker in workers.items()
        }
        for _ in range(rounds):
            for name, worker in workers.items():
                taken[name].append(worker.repeat(numbers[name])[cases[name].measured])
    for name, case in cases.items():
        _print(case, taken[name], cases.get(case.over), taken.get(case.over, []))
    return {case.title: median(taken[name]) * 1e6 for name, case in cases.items()}


def _print(case: Case, taken: list[float], over: Case | None, base: list[float]) -> None:
    ratio = median(mine / theirs for mine, theirs in zip(taken, base, strict=True)) if over else 1.0
    goal = f"at most {case.at_most:.2f}" if case.at_most else ""
    unit = "CPU" if case.measured == "cpu" else "wall"
    row = (case.title, f"{median(taken) * 1e6:.1f}", unit, over.title if over else "", f"{ratio:.2f}", goal)
    print(f"| {' | '.join(row)} |")


class _Worker:
    def __init__(self, module: str, name: str, address: str) -> None:
        command = [sys.executable, "-m", "tests.bench.operations", module, name, address]
        self.name = name
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> _Worker:
        self._line()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def repeat(self, number: int) -> dict[str, float]:
        """Repeat the operation *number* times, and return the seconds of one."""
        print(number, file=self.process.stdin, flush=True)
        return self._line()

    def _line(self) -> dict[str, float]:
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            raise RuntimeError(f"{self.name} ended with {self.process.wait()}; its error is above")
        answer: dict[str, float] = json.loads(line)
        return answer
