"""A fork server, as the supervisor sees it: the parent of the workers of one generation."""

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
"""Seconds in which a fork server that stands still has not forked, and is killed."""
CLOSE_TIMEOUT = 2.0
"""Seconds that a fork server gets to end when its last worker has ended, before it is killed."""


class ForkServerExited(ScalekitError):
    """The fork server has ended, or was killed because it stood still."""


class ForkServerProcess(ChildProcess):
    """The process that imports plugins and application once and forks workers; *end* is the supervisor's end."""

    def __init__(self, process: ProcessHandle, stacks_pipe: int, end: socket.socket) -> None:
        self.threads: list[str] = []
        self.warnings: list[str] = []
        self._end_of_pair = end
        self._closed = False
        self._awaited: deque[asyncio.Future[ForkedProcess]] = deque()
        self._forked: dict[int, ForkedProcess] = {}
        end.setblocking(False)
        asyncio.get_running_loop().add_reader(end, self._receive)
        super().__init__("parent of workers", process, stacks_pipe)

    @property
    def forks(self) -> bool:
        """Whether workers can be forked."""
        return self.is_ready and not self.threads and not self._closed and not self.ended.done()

    async def fork(self, slot: str, descriptors: Sequence[int]) -> ForkedProcess:
        """Return a new worker for *slot*, which gets the *descriptors* of its control socket and its stacks.

        Raises ForkServerExited when this process has ended or stands still, and WorkerFailed when the kernel refuses.
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
            raise ForkServerExited(f"{self} has not forked a worker")
        return forked.result()

    async def _kill(self) -> None:
        self.signal(signal.SIGKILL)
        await asyncio.wait({self.ended})

    def close(self) -> None:
        """Want no more workers: it ends when those that it has forked have ended."""
        self._closed = True
        with suppress(OSError):
            self._end_of_pair.shutdown(socket.SHUT_WR)

    async def wait_until_closed(self) -> None:
        """Wait until it has ended, now that none of its workers is left."""
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
            self._forked.pop(pid).report(status)

    async def _close(self) -> None:
        self._receive()  # what it has told at last
        asyncio.get_running_loop().remove_reader(self._end_of_pair)
        self._end_of_pair.close()
