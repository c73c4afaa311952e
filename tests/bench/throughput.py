"""Requests per second that wrk gets from one process, by interleaved rounds."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from tests.bench.inprocess import Case
from tests.bench.peers import python_of
from tests.bench.row import Row
from tests.servers import Server, ask
from tests.tools import wrk

CASES = Path(__file__).parent / "cases"
FILES = {"scalekit_empty": CASES / "empty.toml", "both_on": CASES / "both.toml"}
"""What ``scalekit run`` serves for a case."""


class Served(Server):
    """A case under uvicorn as its users run it, or under ``scalekit run``."""

    name = "bench"

    def __init__(self, case: Case) -> None:
        self.case = case

    def prepare(self) -> None:
        self.box.environment["PYTHONPATH"] = str(CASES)

    def command(self) -> list[object]:
        if self.case.module in FILES:
            overrides = ["--set", "app.target=starlette_bare:app", "--set", f"server.port={self.port}"]
            return [sys.executable, "-m", "scalekit", "run", FILES[self.case.module], *overrides]
        python = python_of(self.case.peer) if self.case.peer else sys.executable
        quiet = ["--no-access-log", "--log-level", "warning"]
        return [python, "-m", "uvicorn", f"{self.case.module}:app", "--port", self.port, *quiet]

    def answers(self) -> bool:
        return bool(ask(self.port, "GET", "/api/data"))


def measure(cases: list[Case], rounds: int, seconds: int) -> list[Row]:
    """Return the median requests per second of each case, with 64 connections."""
    found: dict[str, list[float]] = {case.title: [] for case in cases}
    with ExitStack() as stack:
        servers = [stack.enter_context(Served(case)) for case in cases]
        for _ in range(rounds):
            for server in servers:
                url = f"http://127.0.0.1:{server.port}/api/data"
                result = wrk(url, connections=64, seconds=seconds)
                found[server.case.title].append(result.requests_per_second)
    rates = {title: median(each) for title, each in found.items()}
    bare = next(iter(rates))
    return [
        Row("", f"wrk, 64 connections: {title}", rate, "requests/s", bare, rate - rates[bare], rate / rates[bare])
        for title, rate in rates.items()
    ]
