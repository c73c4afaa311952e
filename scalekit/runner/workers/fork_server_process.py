"""The supervisor's view of a fork server, the parent process of the workers of one generation."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from scalekit.errors import ScalekitError
from scalekit.runner.workers.child_process import ChildProcess, ProcessHandle, WorkerFailed
from scalekit.runner.workers.fork_messages import ForkKind, receive, send
from scalekit.runner.workers.forked_process import ForkedProcess

FORK_TIMEOUT = 5.0
"""Seconds for a fork; a fork server that takes longer hangs and is killed."""
CLOSE_TIMEOUT = 2.0
"""Seconds between the exit of the last worker and SIGKILL for its fork server."""


class ForkServerExited(ScalekitError):
    """The fork server has exited, or was killed because it hung."""


class ForkServerProcess(ChildProcess):
    """The process that imports plugins and application and forks workers; *end* is this side of its socket pair."""

    def __init__(self, process: ProcessHandle, stacks_pipe: int, end: socket.socket) -> None:
        self.threads: list[str] = []
        self.warnings: list[str] = []
        self._end_of_pair = end
        self._closed = False
        self._awaited: deque[asyncio.Future[ForkedProcess]] = deque()
        self._forked: dict[int, ForkedProcess] = {}
        end.setblocking(False)
        asyncio.get_running_loop().add_reader(end, self._receive)
        super().__init__("fork server", process, stacks_pipe)

    @property
    def can_fork(self) -> bool:
        """Whether the process can fork workers."""
        return self.is_ready and not self.threads and not self._closed and not self.ended.done()

    async def fork(self, slot: str, descriptors: Sequence[int]) -> ForkedProcess:
        """Fork a worker for *slot* with the *descriptors* of its control socket and its stacks.

        Raises ForkServerExited when the fork server has exited or hangs, and WorkerFailed when the kernel cannot fork.
        """
        forked: asyncio.Future[ForkedProcess] = asyncio.get_running_loop().create_future()
        try:
            send(self._end_of_pair, ForkKind.FORK, slot, descriptors)
        except OSError as error:
            await self._kill()
            raise ForkServerExited(f"{self}: {error}") from error
        self._awaited.append(forked)
        first: set[asyncio.Future[Any]] = {forked, self.ended}
        await asyncio.wait(first, timeout=FORK_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
        if not forked.done():
            await self._kill()
            raise ForkServerExited(f"{self} did not fork a worker within {FORK_TIMEOUT:g}s")
        return forked.result()

    async def _kill(self) -> None:
        self.signal(signal.SIGKILL)
        await asyncio.wait({self.ended})

    def close(self) -> None:
        """Fork no more; the process exits when its last worker has exited."""
        self._closed = True
        with suppress(OSError):
            self._end_of_pair.shutdown(socket.SHUT_WR)

    async def wait_until_closed(self) -> None:
        """Wait until the process exits after its last worker; kill it after CLOSE_TIMEOUT."""
        if self.is_ready:
            await asyncio.wait({self.ended}, timeout=CLOSE_TIMEOUT)
            self.signal(signal.SIGKILL)
        await self.ended

    def _receive(self) -> None:
        with suppress(BlockingIOError):
            while (message := receive(self._end_of_pair)) is not None:
                self._take(message.kind, message.value, message.descriptors)
            asyncio.get_running_loop().remove_reader(self._end_of_pair)

    def _take(self, kind: ForkKind, value: Any, descriptors: Sequence[int]) -> None:
        if kind is ForkKind.READY:
            self.threads, self.warnings = value["threads"], value["warnings"]
            self._ready.set()
        elif kind is ForkKind.FORKED:
            self._forked[value] = forked = ForkedProcess(value, descriptors[0], self.ended)
            self._awaited.popleft().set_result(forked)
        elif kind is ForkKind.FAILED:
            self._awaited.popleft().set_exception(WorkerFailed("a worker", value))
        elif kind is ForkKind.ENDED:
            pid, status = value
            self._forked.pop(pid).set_status(status)

    async def _close(self) -> None:
        self._receive()  # its last messages
        asyncio.get_running_loop().remove_reader(self._end_of_pair)
        self._end_of_pair.close()
