"""Services with several workers, and their processes."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Protocol

from tests.processes import alive, family, parent_of, wait_for
from tests.service import APPLICATION, Service

IN_A_SECOND = 'drain_delay = "500ms"'
PRELOAD = ["preload = true", "preload = false"]
IMPORTED = """
import asyncio, os, pathlib, time
with open("imports", "a") as file:
    file.write(f"{os.getpid()}\\n")
"""
"""Source that records the process that imports it."""
COUNTING = """
import asyncio, os, pathlib, time
def count():
    with open("starts", "a") as file:
        file.write(f"{os.getpid():9}\\n")
        return file.tell() // 10 - 1
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        number = count()
        ...
    await served(scope, receive, send)
"""
SENDS_ITS_PID = APPLICATION.replace('b"%s %d" % (scope["path"].encode(), length)', 'b"%d" % __import__("os").getpid()')


def counting(on_start: str, source: str = APPLICATION) -> str:
    """Return *source* with the code *on_start*, which runs when a worker starts; its process id is in ``starts``.

    In *on_start*, ``number`` is the number of workers that have started before.
    """
    return COUNTING.replace("...", on_start) + source.replace("async def app(", "async def served(")


def pids_in(service: Service, file: str) -> list[int]:
    """Return the process ids that the application has written to *file*, one per line."""
    path = service.box.directory / file
    return list(map(int, path.read_text().split())) if path.exists() else []


class Supervisor(Protocol):
    """A process with workers."""

    @property
    def pid(self) -> int: ...


class Starting(Service):
    """A service whose start is not awaited."""

    def is_ready(self) -> bool:
        return True


class Supervised(Service):
    """A service that is ready when every worker is."""

    def is_ready(self) -> bool:
        logs = self.box.directory.rglob("*.log")
        return any(" workers on http" in path.read_text() for path in logs) and super().is_ready()


def supervised(workers: int, more: str = "", source: str = SENDS_ITS_PID, **plugins: str) -> Supervised:
    """Return a service of *workers* workers whose application responds with the worker's process id."""
    tables = f"[server]\nworkers = {workers}\n{IN_A_SECOND}\n{more}\n"
    return Supervised(tables, {"service": source}, plugins)


def workers_of(service: Supervisor) -> list[int]:
    """Return the process ids of the running workers."""
    return [pid for pid in family(service.pid)[1:] if alive(pid) and _is_worker(pid, service.pid)]


def parents_of_workers(service: Supervisor) -> list[int]:
    """Return the process ids of the running fork servers, the oldest first."""
    members = [pid for pid in family(service.pid)[1:] if alive(pid) and b"--fork-server" in _command(pid)]
    return sorted(set(members) - set(workers_of(service)))


def wait_for_new_workers(service: Service, old: list[int], number: int) -> list[int]:
    """Wait until there are *number* workers and all *old* ones have exited; return the new process ids."""

    def renewed() -> list[int]:
        now = workers_of(service)
        return now if len(now) == number and not set(now) & set(old) else []

    return wait_for("new workers", renewed)


def serving_pids(service: Service, number: int) -> set[int]:
    """Send requests until *number* processes have responded, and return their ids."""
    seen: set[int] = set()

    def enough() -> bool:
        seen.add(int(service.get("/")))
        return len(seen) >= number

    wait_for(f"responses of {number} workers", enough)
    return seen


def stop(service: Service, number: signal.Signals = signal.SIGTERM) -> int:
    """Send a signal to the supervisor; return the exit status when all processes have exited."""
    pids = family(service.pid)
    service.signal(number)
    status = service.wait()
    wait_for("the end of the workers", lambda: not any(map(alive, pids)))
    return status


def sockets_of(pid: int) -> int:
    """Return the number of open sockets of the process."""
    names = [fd.readlink().name for fd in Path(f"/proc/{pid}/fd").iterdir()]
    return len([name for name in names if re.match(r"socket:", name)])


def _is_worker(pid: int, supervisor: int) -> bool:
    """Return whether the process is a worker; a forked worker has the command line of its parent."""
    command = _command(pid)
    return b"--worker" in command or (b"--fork-server" in command and parent_of(pid) != supervisor)


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
