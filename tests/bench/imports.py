"""Import time of a host without plugins, by ``python -X importtime``, beside Starlette and uvicorn alone."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from statistics import median

from tests.bench.peers import python_of_a_user
from tests.bench.row import Row
from tests.bench.startup import CASES, HOST, ROOT, SAY, UVICORN

LINE = re.compile(r"^import time:\s+(\d+) \|\s+\d+ \| ", re.MULTILINE)
"""Microseconds of a module itself (https://docs.python.org/3/using/cmdline.html#cmdoption-X)."""
_SETTINGS = ("--set", "app.target=starlette_bare:app", "--set", "server.port=0")
BARE = "Starlette and uvicorn"
COMMANDS = {
    BARE: [UVICORN.removeprefix(SAY), "starlette_bare"],
    "ScaleKit, no plugins": [HOST.removeprefix(SAY), "run", str(CASES / "empty.toml"), *_SETTINGS],
}
"""Source and arguments of the processes; both import, start and stop the same application."""


def measure(rounds: int) -> list[Row]:
    """Return a row of each process: the median of its import times, in ms."""
    times: dict[str, list[float]] = {title: [] for title in COMMANDS}
    with tempfile.TemporaryDirectory() as bytecode:
        for _ in range(rounds + 1):  # the first one compiles
            for title, command in COMMANDS.items():
                times[title].append(import_time(_report(command, bytecode)))
    return list(_rows({title: median(found[1:]) for title, found in times.items()}))


def import_time(report: str) -> float:
    """Return the milliseconds that all modules of *report* took by themselves; raise ``ValueError`` without any."""
    microseconds = [int(found[1]) for found in LINE.finditer(report)]
    if not microseconds:
        raise ValueError(f"no import times:\n{report[-2000:]}")
    return sum(microseconds) / 1e3


def _report(command: Sequence[str], bytecode: str) -> str:
    environment = {**os.environ, "PYTHONPATH": f"{CASES}:{ROOT}", "PYTHONPYCACHEPREFIX": bytecode}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [python_of_a_user(), "-X", "importtime", "-c", *command],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
    return done.stderr


def _rows(times: dict[str, float]) -> Iterator[Row]:
    base = times[BARE]
    for title, found in times.items():
        yield Row("", f"import time: {title}", found, "ms", BARE, found - base, found / base)
