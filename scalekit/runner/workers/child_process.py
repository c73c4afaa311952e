"""One child process of the supervisor: its start, its signals, its end."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from typing import Protocol

from scalekit.errors import ScalekitError

ABORT_GRACE = 2.0
"""Seconds that a process gets to write its stacks after SIGABRT before it is killed."""

LARGEST_STACKS = 65_536
"""Bytes of stacks that are read, which is what a pipe holds."""


class WorkerFailed(ScalekitError):
    """A process ended before it was ready; its own log says why."""

    def __init__(self, name: str, reason: str, status: int | None = None) -> None:
        super().__init__(f"{name} did not start: {reason}")
        self.exit_status = status if status is not None and 0 < status < 128 else 1


class ProcessHandle(Protocol):
    """A running process: one of asyncio's, or one that a fork server has forked."""

    @property
    def pid(self) -> int:
        """Its number."""
        ...

    def send_signal(self, number: int, /) -> None:
        """Send a signal; raises ProcessLookupError when it has ended."""
        ...

    async def wait(self) -> int | None:
        """Return its exit status once it has ended, or None where nobody knows it."""
        ...


class ChildProcess:
    """A process that becomes ready, and may show its stacks in *stacks_pipe* when it crashes."""

    stacks = ""
    """Where its threads were when it crashed or was ended because it hung."""

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
        """Whether it has become ready."""
        return self._ready.is_set()

    async def wait_until_ready(self) -> None:
        """Wait until it is ready; raises WorkerFailed when it ends first."""
        ready = asyncio.create_task(self._ready.wait())
        await asyncio.wait({ready, self.ended}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if not self._ready.is_set():
            status = self.ended.result()
            raise WorkerFailed(str(self), described(status), status)

    def pause_watch(self, seconds: float) -> None:
        """Leave out *seconds* in which the supervisor stood still: it could hear nothing."""
        self.starting_since += seconds

    def signal(self, number: int) -> None:
        """Send a signal; nothing when the process has ended."""
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def abort(self) -> None:
        """End the process at once; it shows its stacks if it can."""
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
        """Close what the supervisor held of it."""

    def _read_stacks(self) -> str:
        with open(self._stacks_pipe, "rb", buffering=0) as pipe:
            os.set_blocking(pipe.fileno(), False)
            return (pipe.read(LARGEST_STACKS) or b"").decode("utf-8", "replace").strip()


def described(status: int | None) -> str:
    """Return how a process ended, for a person."""
    if status is None:
        return "it ended"
    if status >= 0:
        return f"it ended with status {status}"
    try:
        return f"it was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"it was ended by signal {-status}"
