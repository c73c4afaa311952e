"""What it costs to import, start and stop: CPU time of a whole process that serves nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from tests.bench.row import Goal, Row

UNIT = "ms of CPU"
CASES = Path(__file__).parent / "cases"
BARE = """
import uvicorn
from starlette_bare import app
class Once(uvicorn.Server):
    async def main_loop(self): pass
Once(uvicorn.Config(app, port=0, log_level="error", access_log=False)).run()
"""
HOST = """
import sys, logging
from scalekit.server.draining import DrainingServer
async def main_loop(self): self.drain_time = 0.0
DrainingServer.main_loop = main_loop
sys.argv = ["scalekit", "run", "--set", "app.target=starlette_bare:app", "--set", "server.port=0", "empty.toml"]
from scalekit.cli import main
main()
"""


def measure(rounds: int) -> list[Row]:
    """Return the median CPU milliseconds of each process."""
    taken: dict[str, list[float]] = {"Starlette and uvicorn": [], "ScaleKit, no plugins": []}
    with tempfile.TemporaryDirectory() as bytecode:
        for number in range(rounds + 1):
            for name, source in zip(taken, (BARE, HOST), strict=True):
                seconds = _cpu_of(source, bytecode)
                if number:  # the first round compiles
                    taken[name].append(seconds)
    (bare, theirs), (empty, ours) = ((name, median(times) * 1e3) for name, times in taken.items())
    first = Row("", f"import, start and stop: {bare}", theirs, UNIT)
    return [first, Row("", f"— {empty}", ours, UNIT, first.title, ours - theirs, ours / theirs, Goal("more", 150))]


def _cpu_of(source: str, bytecode: str) -> float:
    environment = {**os.environ, "PYTHONPATH": str(CASES), "PYTHONPYCACHEPREFIX": bytecode}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-c", source]
    with subprocess.Popen(command, cwd=CASES, env=environment, stderr=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"the process ended with {process.returncode}: run it to see why\n{source}")
    return usage.ru_utime + usage.ru_stime
