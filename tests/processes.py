"""Real processes for tests: free ports, waiting for conditions, and boxes that clean up."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

HOST = "127.0.0.1"
# Below the kernel's ephemeral range (32768-60999): no outgoing connection takes a port between check and start.
PORTS = range(20000, 32000)
BLOCK = 400
# The kernel ends a process when the *thread* that started it ends. This one lives as long as the tests do.
SPAWNER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")
NOT_YET = (OSError, HTTPException, subprocess.SubprocessError)

Process = subprocess.Popen[bytes]
Value = TypeVar("Value")


class ExitedError(Exception):
    """A process ended before the awaited condition was true."""


class PortBlocks:
    """Blocks of ports that belong to this process alone, also while other tests run on the machine.

    An abstract Unix socket reserves a block: one process can bind its name, and the kernel frees it when that exits.
    """

    def __init__(self, ports: Sequence[int] = PORTS, size: int = BLOCK) -> None:
        self._blocks = iter([ports[start : start + size] for start in range(0, len(ports), size)])
        self._own: deque[int] = deque()
        self._marks: list[int] = []
        self._lock = threading.Lock()
        self._ports = ports

    def take(self, count: int) -> list[int]:
        """Return unused ports, the least recently returned first."""
        with self._lock:
            ports: list[int] = []
            tries = len(self._own)
            while len(ports) < count:
                if not tries:
                    tries = self._take_block(count - len(ports))
                tries -= 1
                port = self._own.popleft()
                self._own.append(port)
                if _is_free(port):
                    ports.append(port)
            return ports

    def close(self) -> None:
        """Release the blocks."""
        for mark in self._marks:
            os.close(mark)
        self._marks.clear()
        self._own.clear()

    def _take_block(self, wanted: int) -> int:
        for block in self._blocks:
            mark = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                mark.bind(f"\0scalekit-tests-ports-{block[0]}-{block[-1]}")
            except OSError:
                mark.close()
                continue
            self._marks.append(mark.detach())
            self._own.extendleft(reversed(block))
            return len(block)
        raise OSError(f"no free port in {self._ports}, {wanted} more needed: end the processes that use them")


_ports = PortBlocks()


def free_ports(count: int) -> list[int]:
    """Return ports that are unused on the loopback address, for TCP and UDP, and reserved for this process."""
    return _ports.take(count)


def _forget_ports() -> None:
    global _ports
    _ports = PortBlocks()  # the blocks are still the parent's


os.register_at_fork(after_in_child=_forget_ports)


def _is_free(port: int) -> bool:
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        try:
            tcp.bind((HOST, port))
            udp.bind((HOST, port))
        except OSError:
            return False
    return True


def wait_for(name: str, condition: Callable[[], Value], process: Process | None = None, limit: float = 90.0) -> Value:
    """Poll *condition* until its value is true and return it; a failing connection or command counts as false."""
    began = time.monotonic()
    while True:
        problem: Exception | None = None
        try:
            if value := condition():
                return value
        except NOT_YET as error:
            problem = error
        if process is not None and process.poll() is not None:
            raise ExitedError(f"{name}: the process ended with {process.returncode}") from problem
        waited = time.monotonic() - began
        if waited > limit:
            raise TimeoutError(f"{name}: not within {limit:g} s") from problem
        time.sleep(pause_after(waited, 0.02, 0.1))


def pause_after(waited: float, shortest: float, longest: float) -> float:
    """Return the seconds until the next poll: a twentieth of the time *waited*, within limits."""
    return min(longest, max(shortest, waited / 20))


def alive(pid: int) -> bool:
    """Return whether the process exists and is not a zombie."""
    return _state_and_parent(pid)[0] not in "XZ"


def family(pid: int) -> list[int]:
    """Return the process and all its descendants, parents first."""
    children: dict[int, list[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        _, parent = _state_and_parent(int(name))
        children.setdefault(parent, []).append(int(name))
    members = [pid]
    for member in members:  # grows while it is read
        members += children.get(member, [])
    return members


def parent_of(pid: int) -> int:
    """Return the process id of the parent, 0 when the process does not exist."""
    return _state_and_parent(pid)[1]


def _state_and_parent(pid: int) -> tuple[str, int]:
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:  # called often: no Path and no decoding
            text = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return "X", 0
    # The second field is the program's name, which may hold blanks and brackets.
    state, parent = text.rpartition(b")")[2].split(maxsplit=2)[:2]
    return state.decode(), int(parent)


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _quick_folder() -> str:
    """Return a folder in memory when it has enough space, since a database has a thousand files; else /tmp."""
    in_memory = "/dev/shm"
    ample = Path(in_memory).is_dir() and shutil.disk_usage(in_memory).free > 4 << 30
    return in_memory if ample and os.access(in_memory, os.W_OK) else "/tmp"


class Box:
    """A directory with a short path and its processes; close() ends and removes them."""

    def __init__(self, name: str, user: str | None = None) -> None:
        # Not pytest's tmp_path: other users cannot traverse it, and paths of Unix sockets have at most 107 bytes.
        self.directory = Path(tempfile.mkdtemp(prefix=f"scalekit-{name}-", dir=_quick_folder()))
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "TMPDIR": str(self.directory),
            "LANG": "C.UTF-8",
        }
        self._cleanup = ExitStack()
        self._cleanup.callback(shutil.rmtree, self.directory)
        # Root must run a server that refuses root as another user; only root can.
        self.user = user if os.geteuid() == 0 else None
        self._group = pwd.getpwnam(self.user).pw_gid if self.user else None
        self._chown(self.directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            error.add_note(self.logs())
        self.close()

    def spawn(
        self, *command: object, log: str = "server.log", death_signal: signal.Signals = signal.SIGKILL
    ) -> Process:
        """Start a process that receives *death_signal* when the box is closed or this process ends in any way."""
        process = SPAWNER.submit(self._spawn, _tied_to_this_process(command, death_signal), log).result()
        self._cleanup.callback(self._end, process, death_signal)
        return process

    def run(
        self, *command: object, text: str = "", check: bool = True, limit: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end with the input *text*."""
        try:
            return subprocess.run(
                _tied_to_this_process(command, signal.SIGKILL),
                cwd=self.directory,
                env=self.environment,
                input=text,
                capture_output=True,
                text=True,
                check=check,
                timeout=limit,
                user=self.user,
                group=self._group,
                extra_groups=[] if self.user else None,
            )
        except subprocess.CalledProcessError as error:
            error.add_note(f"{error.stdout}{error.stderr}")
            raise

    def write(self, name: str, text: str) -> Path:
        """Write a file for the server to read."""
        path = self.directory / name
        path.write_text(text)
        self._chown(path)
        return path

    def stop(self, process: Process, number: signal.Signals = signal.SIGTERM, limit: float = 60.0) -> None:
        """Send the signal *number*, and kill the process when it does not end within *limit* seconds."""
        process.send_signal(number)
        self.resume(process)  # a paused process handles no other signal
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            self.kill(process)

    def kill(self, process: Process) -> None:
        """Kill the process and its descendants (kill -9) and wait until they have exited."""
        pids = self._halt(process)
        for pid in pids:
            _send(pid, signal.SIGKILL)
        process.wait()
        wait_for(f"the end of {pids}", lambda: not any(map(alive, pids)))

    def pause(self, process: Process) -> None:
        """Pause the process and its descendants: connections stay open without replies.

        One thread receives the signal, and until the kernel schedules it, the others may run on: wait for all.
        """
        pids = self._halt(process)
        wait_for(f"the stop of {pids}", lambda: all(map(_stands_still, pids)))

    def _halt(self, process: Process) -> list[int]:
        """Send the signal to stop to the process and its descendants, and return their ids."""
        if process.poll() is not None:
            return []
        # The parent first, so that it starts no more children.
        process.send_signal(signal.SIGSTOP)
        pids = family(process.pid)
        for pid in pids:
            _send(pid, signal.SIGSTOP)
        return pids

    def resume(self, process: Process) -> None:
        """Resume a paused process and its descendants."""
        if process.poll() is None:
            for pid in family(process.pid):
                _send(pid, signal.SIGCONT)

    def logs(self) -> str:
        """Return the end of every log in the directory."""
        return "\n".join(f"--- {path}\n{_tail(path)}" for path in sorted(self.directory.rglob("*.log")))

    def close(self) -> None:
        """End the processes, the latest first, and remove the directory."""
        self._cleanup.close()

    def _end(self, process: Process, number: signal.Signals) -> None:
        """End the process and wait for its descendants, which may write into the directory until they exit."""
        if number is signal.SIGKILL:  # descendants too, which would first finish their work
            self.kill(process)
            return
        pids = family(process.pid)
        self.stop(process, number)
        wait_for(f"the end of {pids}", lambda: not any(map(alive, pids)))

    def _spawn(self, command: list[str], log: str) -> Process:
        with (self.directory / log).open("ab") as output:
            return subprocess.Popen(
                command,
                cwd=self.directory,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # A process group of its own, against Ctrl-C. Not a session: only within a session does the kernel
                # wake stopped processes whose parent has exited, so that they receive the signal.
                process_group=0,
                user=self.user,
                group=self._group,
                extra_groups=[] if self.user else None,
            )

    def _chown(self, path: Path) -> None:
        if self.user is not None:
            shutil.chown(path, self.user, self._group)


def _tied_to_this_process(command: tuple[object, ...], death_signal: signal.Signals) -> list[str]:
    # setpriv becomes the command: the process id stays.
    return ["setpriv", f"--pdeathsig={death_signal.name.removeprefix('SIG')}", *map(str, command)]


def _stands_still(pid: int) -> bool:
    """Return whether all threads of the process are stopped or have ended."""
    try:
        threads = [stat.read_text() for stat in Path(f"/proc/{pid}/task").glob("*/stat")]
    except (FileNotFoundError, ProcessLookupError):
        return not alive(pid)
    return all(line.rpartition(")")[2].split()[0] in "TtXZ" for line in threads)


def _tail(path: Path, size: int = 2000) -> str:
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - size))
        return log.read().decode(errors="replace")
