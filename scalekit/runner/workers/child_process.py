"""A child process of the supervisor: readiness, signals, exit status, stacks after a crash."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from typing import Protocol

from scalekit.errors import ScalekitError

ABORT_GRACE = 2.0
"""Seconds between SIGABRT, on which the process writes its stacks, and SIGKILL."""

MAX_STACKS_SIZE = 65_536
"""Bytes of stacks that are read: the capacity of a pipe."""


class WorkerFailed(ScalekitError):
    """A process exited before it was ready; its own log has the reason."""

    def __init__(self, name: str, reason: str, status: int | None = None) -> None:
        super().__init__(f"{name} did not start: {reason}")
        self.exit_status = status if status is not None and 0 < status < 128 else 1


class ProcessHandle(Protocol):
    """A running process: one of asyncio's, or one that the fork server forked."""

    @property
    def pid(self) -> int:
        """The process id."""
        ...

    def send_signal(self, number: int, /) -> None:
        """Send a signal; raises ProcessLookupError when the process has exited."""
        ...

    async def wait(self) -> int | None:
        """Wait until the process exits; return its status, or None when it is unknown."""
        ...


class ChildProcess:
    """A process that reports when it is ready, and writes its stacks to *stacks_pipe* when it crashes."""

    stacks = ""
    """The stacks of its threads when it crashed or was aborted because it hung."""

    def __init__(self, name: str, process: ProcessHandle, stacks_pipe: int) -> None:
        self.name = name
        self.pid = process.pid
        self.started = self.starting_since = asyncio.get_running_loop().time()
        self.aborted = False
        self._process = process
        self._stacks_pipe = stacks_pipe
        self._ready = asyncio.Event()
        self.ended = asyncio.create_task(self._end())

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})"

    @property
    def is_ready(self) -> bool:
        """Whether the process has reported that it is ready."""
        return self._ready.is_set()

    async def wait_until_ready(self) -> None:
        """Wait until the process is ready; raises WorkerFailed when it exits first."""
        ready = asyncio.create_task(self._ready.wait())
        await asyncio.wait({ready, self.ended}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if not self._ready.is_set():
            status = self.ended.result()
            raise WorkerFailed(str(self), describe_exit(status), status)

    def pause_watch(self, seconds: float) -> None:
        """Exclude *seconds* in which the supervisor did not run from the start timeout."""
        self.starting_since += seconds

    def signal(self, number: int) -> None:
        """Send a signal; do nothing when the process has exited."""
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def abort(self) -> None:
        """Send SIGABRT, on which the process writes its stacks, and SIGKILL after ABORT_GRACE."""
        self.aborted = True
        self.signal(signal.SIGABRT)
        await asyncio.wait({self.ended}, timeout=ABORT_GRACE)
        self.signal(signal.SIGKILL)

    async def _end(self) -> int | None:
        status = await self._process.wait()
        await self._close()
        self.stacks = self._read_stacks()
        return status

    async def _close(self) -> None:
        """Release the resources that the supervisor holds for the process."""

    def _read_stacks(self) -> str:
        with open(self._stacks_pipe, "rb", buffering=0) as pipe:
            os.set_blocking(pipe.fileno(), False)
            return (pipe.read(MAX_STACKS_SIZE) or b"").decode("utf-8", "replace").strip()


def describe_exit(status: int | None) -> str:
    """Return how a process exited, as a phrase for a log message."""
    if status is None:
        return "it exited"
    if status >= 0:
        return f"it exited with status {status}"
    try:
        return f"it was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"it was killed by signal {-status}"
