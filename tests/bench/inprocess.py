"""CPU per request, in process, by interleaved rounds."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tests.bench.peers import python_of

WORKER = Path(__file__).parent / "worker.py"
WARM_UP = 2000


@dataclass(frozen=True, slots=True)
class Case:
    """A module of ``cases/``, how it is called in the table, whose environment it runs in, and what it is held to.

    *over* is the module that it is compared with; a peer may cost ten times what the module *ours* does.
    """

    module: str
    title: str
    peer: str = ""
    goal: str = ""
    over: str = "starlette_bare"
    ours: str = ""


@dataclass(slots=True)
class Measured:
    """The CPU seconds a request of each round."""

    case: Case
    rounds: list[float] = field(default_factory=list)

    @property
    def microseconds(self) -> float:
        """The median, in µs."""
        return median(self.rounds) * 1e6

    def more_than(self, other: Measured) -> float:
        """Return the median of the differences to *other*, round by round, in µs."""
        return median(mine - theirs for mine, theirs in zip(self.rounds, other.rounds, strict=True)) * 1e6

    def ratio_to(self, other: Measured) -> float:
        """Return the median of the ratios to *other*, round by round."""
        return median(mine / theirs for mine, theirs in zip(self.rounds, other.rounds, strict=True))


def measure(cases: list[Case], rounds: int, seconds: float) -> list[Measured]:
    """Serve rounds of about *seconds* in turn, so that what disturbs the machine disturbs every case."""
    with ExitStack() as stack:
        workers = [stack.enter_context(_Worker(case)) for case in cases]
        numbers = [max(200, int(seconds / worker.serve(WARM_UP))) for worker in workers]
        measured = [Measured(case) for case in cases]
        for _ in range(rounds):
            for worker, number, result in zip(workers, numbers, measured, strict=True):
                result.rounds.append(worker.serve(number))
    return measured


class _Worker:
    def __init__(self, case: Case) -> None:
        python = python_of(case.peer) if case.peer else sys.executable
        command = [python, str(WORKER), case.module]
        self.case = case
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> _Worker:
        self._line()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def serve(self, number: int) -> float:
        """Serve *number* requests and return the CPU seconds of one."""
        print(number, file=self.process.stdin, flush=True)
        answer = self._line()
        if answer["wrong"]:
            raise RuntimeError(f"{self.case.module}: {answer['wrong']} answers were not 200")
        return float(answer["cpu"])

    def _line(self) -> dict[str, float]:
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            raise RuntimeError(f"{self.case.module} ended with {self.process.wait()}; its error is above")
        answer: dict[str, float] = json.loads(line)
        return answer
