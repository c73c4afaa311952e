"""A worker that the fork server forked, watched by the supervisor, which is not its parent, through a pidfd."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

STATUS_TIMEOUT = 1.0
"""Seconds to wait for the exit status, which only the fork server, the parent process, receives."""


class ForkedProcess:
    """The process *pid*; *descriptor*, a pidfd, refers to it even after its pid is reused.

    *parent_ended* completes when the fork server has exited; after that no status arrives.
    """

    def __init__(self, pid: int, descriptor: int, parent_ended: asyncio.Future[int | None]) -> None:
        self.pid = pid
        self._descriptor = descriptor
        self._parent_ended = parent_ended
        self._exited = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._status: asyncio.Future[int] = loop.create_future()
        loop.add_reader(descriptor, self._on_exit)

    def set_status(self, status: int) -> None:
        """Record the exit status; the first call wins."""
        if not self._status.done():
            self._status.set_result(status)

    def send_signal(self, number: int) -> None:
        """Send a signal; raises ProcessLookupError when the process has exited."""
        if self._exited.is_set():
            raise ProcessLookupError(self.pid)
        signal.pidfd_send_signal(self._descriptor, number)

    async def wait(self) -> int | None:
        """Wait until the process exits; return its status, or None when the fork server exited without sending it."""
        await self._exited.wait()
        known: set[asyncio.Future[Any]] = {self._status, self._parent_ended}
        await asyncio.wait(known, timeout=STATUS_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
        return self._status.result() if self._status.done() else None

    def _on_exit(self) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        self._reap_orphan()
        os.close(self._descriptor)
        self._exited.set()

    def _reap_orphan(self) -> None:
        """Reap the process when this is the init process (pid 1), which adopts orphans."""
        try:
            ended = os.waitid(os.P_PIDFD, self._descriptor, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            return
        if ended is not None:
            self.set_status(ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status)


def is_supported() -> bool:
    """Return whether the kernel supports pidfds, which macOS and old kernels do not."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True
