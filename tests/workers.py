"""Services with several workers, and a look at which processes they are."""

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
"""Notes the process that imports it."""
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
TELLS_ITS_PID = APPLICATION.replace('b"%s %d" % (scope["path"].encode(), length)', 'b"%d" % __import__("os").getpid()')


def counting(on_start: str, source: str = APPLICATION) -> str:
    """Return *source* with what runs when a worker starts, after the file ``starts`` has got its process id.

    In *on_start* ``number`` is how many workers have started before.
    """
    return COUNTING.replace("...", on_start) + source.replace("async def app(", "async def served(")


def pids_in(service: Service, file: str) -> list[int]:
    """Return the process ids in a file, one a line, that the application has written."""
    path = service.box.directory / file
    return list(map(int, path.read_text().split())) if path.exists() else []


class Supervisor(Protocol):
    """A process with workers."""

    @property
    def pid(self) -> int: ...


class Starting(Service):
    """A service that is not waited for."""

    def answers(self) -> bool:
        return True


class Supervised(Service):
    """A service that is there when every worker is."""

    def answers(self) -> bool:
        logs = self.box.directory.rglob("*.log")
        return any(" workers on http" in path.read_text() for path in logs) and super().answers()


def supervised(workers: int, more: str = "", source: str = TELLS_ITS_PID, **plugins: str) -> Supervised:
    """Return a service of so many workers, whose application answers with the worker's process id."""
    tables = f"[server]\nworkers = {workers}\n{IN_A_SECOND}\n{more}\n"
    return Supervised(tables, {"service": source}, plugins)


def workers_of(service: Supervisor) -> list[int]:
    """Return the process ids of the workers that are there now."""
    return [pid for pid in family(service.pid)[1:] if alive(pid) and _is_worker(pid, service.pid)]


def parents_of_workers(service: Supervisor) -> list[int]:
    """Return the process ids of the fork servers that are there now, the oldest first."""
    members = [pid for pid in family(service.pid)[1:] if alive(pid) and b"--fork-server" in _command(pid)]
    return sorted(set(members) - set(workers_of(service)))


def wait_for_new_workers(service: Service, old: list[int], number: int) -> list[int]:
    """Wait until there are *number* workers, none of them in *old*, and the last of those has gone."""

    def renewed() -> list[int]:
        now = workers_of(service)
        return now if len(now) == number and not set(now) & set(old) else []

    return wait_for("new workers", renewed)


def serving_pids(service: Service, number: int) -> set[int]:
    """Ask until so many processes have answered, and return their ids."""
    seen: set[int] = set()

    def enough() -> bool:
        seen.add(int(service.get("/")))
        return len(seen) >= number

    wait_for(f"answers of {number} workers", enough)
    return seen


def stop(service: Service, number: signal.Signals = signal.SIGTERM) -> int:
    """End the service by a signal to its supervisor; return the exit status when nothing of it is left."""
    pids = family(service.pid)
    service.signal(number)
    status = service.wait()
    wait_for("the end of the workers", lambda: not any(map(alive, pids)))
    return status


def sockets_of(pid: int) -> int:
    """Return how many connections and other sockets the process has open."""
    names = [fd.readlink().name for fd in Path(f"/proc/{pid}/fd").iterdir()]
    return len([name for name in names if re.match(r"socket:", name)])


def _is_worker(pid: int, supervisor: int) -> bool:
    """Tell whether it has a place of its own, or is a fork, which has the command line of its parent."""
    command = _command(pid)
    return b"--worker" in command or (b"--fork-server" in command and parent_of(pid) != supervisor)


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
