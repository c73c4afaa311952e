"""CPU time and memory of processes that import, start and stop without serving a request."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tests.bench.cases.jwt_known import SECRET
from tests.bench.peers import python_of, python_of_a_user
from tests.bench.row import Goal, Row
from tests.processes import free_ports
from tests.production import FOLDER, Servers
from tests.servers import Redis

CASES = Path(__file__).parent / "cases"
ROOT = CASES.parent.parent.parent
SAY = """
import atexit
@atexit.register
def say():
    with open("/proc/self/status") as status:
        print(status.read())
"""
"""Reports memory from inside the child: from outside, it includes pages of the parent."""
UVICORN = f"""{SAY}
import importlib, sys, uvicorn
class Once(uvicorn.Server):
    async def main_loop(self): pass
app = importlib.import_module(sys.argv[1]).app
Once(uvicorn.Config(app, port=0, log_level="error", access_log=False)).run()
"""
HOST = f"""{SAY}
from scalekit.runner.server.graceful_shutdown import GracefulServer
async def main_loop(self): self.drain_delay = 0.0
GracefulServer.main_loop = main_loop
from scalekit.cli import main
main()
"""


@dataclass(frozen=True, slots=True)
class Process:
    """A process to start; *more* and *times* bound its CPU time over the first process's, *mebibytes* its memory."""

    title: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    cpu: Goal | None = None
    mebibytes: float | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """Milliseconds of CPU, and MiB of memory at the end."""

    cpu: float
    memory: float


ANY = ("app.target=starlette_bare:app", "server.port=0")


def _bare() -> Process:
    return Process("Starlette and uvicorn", [python_of_a_user(), "-c", UVICORN, "starlette_bare"])


def measure(rounds: int) -> list[Row]:
    """Return the rows of the host without plugins."""
    empty = _host("ScaleKit, no plugins", CASES / "empty.toml", {}, *ANY)
    return list(_rows("", [_bare(), Process(empty.title, empty.command, cpu=Goal("more", 150))], rounds))


def measure_stacks(rounds: int) -> list[Row]:
    """Return the rows of the stacks on Redis, ScaleKit's and the peers'."""
    with Redis() as redis:
        environment = {"BENCH_REDIS": redis.url, "BENCH_SECRET": SECRET}
        ours = _host("ScaleKit, all on Redis", CASES / "stack.toml", environment, *ANY)
        peers = [
            Process(f"{name}, its stack", [python_of(name.lower()), "-c", UVICORN, f"{name.lower()}_full"], environment)
            for name in ("FastAPI", "Litestar")
        ]
        held = Process(ours.title, ours.command, ours.environment, Goal("ratio", 2.2), 52)
        return list(_rows("stack", [_bare(), held, *peers], rounds))


def measure_production(rounds: int) -> list[Row]:
    """Return the rows of the sample application with all ten plugins and their servers."""
    with ExitStack() as stack:
        environment = Servers().start(stack)
        (port,) = free_ports(1)
        file = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "production.toml"
        text = (FOLDER / file.name).read_text()
        file.write_text(text.replace("workers = 2\n", ""))  # the figures are of a process, not of its supervisor
        ours = _host("ScaleKit, all ten plugins", file, environment, f"server.port={port}")
        held = Process(ours.title, ours.command, ours.environment, Goal("figure", 600), 85)
        return list(_rows("stack", [_bare(), held], rounds))


def _host(title: str, file: Path, environment: Mapping[str, str], *overrides: str) -> Process:
    settings = [part for override in overrides for part in ("--set", override)]
    return Process(title, [python_of_a_user(), "-c", HOST, "run", str(file), *settings], environment)


def _rows(plugin: str, processes: Sequence[Process], rounds: int) -> Iterator[Row]:
    """Yield the medians of interleaved rounds; one before them compiles."""
    taken: dict[str, list[Taken]] = {process.title: [] for process in processes}
    with tempfile.TemporaryDirectory() as bytecode:
        for _ in range(rounds + 1):
            for process in processes:
                taken[process.title].append(_run(process, bytecode))
    cpus = {title: median(each.cpu for each in found[1:]) for title, found in taken.items()}
    memories = {title: median(each.memory for each in found[1:]) for title, found in taken.items()}
    first = processes[0].title
    for process in processes:
        cpu, base = cpus[process.title], cpus[first]
        title = f"import, start and stop: {process.title}"
        yield Row(plugin, title, cpu, "ms of CPU", first, cpu - base, cpu / base, process.cpu)
    for process in processes:
        memory, base = memories[process.title], memories[first]
        goal = Goal("figure", process.mebibytes) if process.mebibytes else None
        yield Row(plugin, f"memory: {process.title}", memory, "MiB", first, memory - base, memory / base, goal)


def _run(process: Process, bytecode: str) -> Taken:
    paths = {"PYTHONPATH": f"{CASES}:{ROOT}", "PYTHONPYCACHEPREFIX": bytecode}
    environment = {**os.environ, **paths, **process.environment}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as output:
        running = subprocess.Popen(process.command, cwd=folder, env=environment, stdout=output, stderr=output)
        _, status, usage = os.wait4(running.pid, 0)
        running.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        report = output.read().decode()
        if running.returncode:
            raise RuntimeError(f"{process.title} ended with {running.returncode}:\n{report}")
    resident = re.findall(r"^VmRSS:\s+(\d+) kB$", report, re.MULTILINE)[-1]
    return Taken((usage.ru_utime + usage.ru_stime) * 1e3, int(resident) / 1024)
