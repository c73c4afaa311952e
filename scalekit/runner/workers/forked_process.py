"""A worker that a fork server has forked: the supervisor, which is not its parent, signals it and waits for its end."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

REPORT_TIMEOUT = 1.0
"""Seconds that the fork server, which alone is told how a worker has ended, gets to say so."""


class ForkedProcess:
    """The process *pid*, which *descriptor* names even when another process has got its number.

    *parent_ended* completes when the fork server has ended, which then says no more.
    """

    def __init__(self, pid: int, descriptor: int, parent_ended: asyncio.Future[int | None]) -> None:
        self.pid = pid
        self._descriptor = descriptor
        self._parent_ended = parent_ended
        self._exited = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._status: asyncio.Future[int] = loop.create_future()
        loop.add_reader(descriptor, self._on_exit)

    def report(self, status: int) -> None:
        """Take the exit status that the fork server has told."""
        if not self._status.done():
            self._status.set_result(status)

    def send_signal(self, number: int) -> None:
        """Send a signal; raises ProcessLookupError when the process has ended."""
        if self._exited.is_set():
            raise ProcessLookupError(self.pid)
        signal.pidfd_send_signal(self._descriptor, number)

    async def wait(self) -> int | None:
        """Return the exit status once the process has ended, or None when nobody is left who knows it."""
        await self._exited.wait()
        told: set[asyncio.Future[Any]] = {self._status, self._parent_ended}
        await asyncio.wait(told, timeout=REPORT_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
        return self._status.result() if self._status.done() else None

    def _on_exit(self) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        self._reap_orphan()
        os.close(self._descriptor)
        self._exited.set()

    def _reap_orphan(self) -> None:
        """Take the exit status from the kernel where this is the init process, to which orphans fall."""
        try:
            ended = os.waitid(os.P_PIDFD, self._descriptor, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            return
        if ended is not None:
            self.report(ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status)


def is_supported() -> bool:
    """Return whether the kernel names processes by descriptors, which macOS and old kernels do not."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True
