"""Start worker processes: forked from a parent that has imported everything once, or each by an interpreter."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence

from scalekit.runner.workers import fork_messages
from scalekit.runner.workers.backoff import RestartBackoff
from scalekit.runner.workers.child_process import ChildProcess, ProcessHandle, WorkerFailed, described
from scalekit.runner.workers.fork_server_process import ForkServerExited, ForkServerProcess
from scalekit.runner.workers.forked_process import is_supported
from scalekit.runner.workers.worker_args import WorkerArgs

logger = logging.getLogger("scalekit")

ATTEMPTS = 2
"""How many parents in a row may end while they are to fork a worker, until that worker has failed to start."""


class Launcher:
    """Starts workers by *command*, which takes the place of each, with *listeners* handed down.

    With *preload* there is a parent for each generation of workers, of which :meth:`renew` begins a new one. *on_end*
    is told of each parent that has ended.
    """

    def __init__(
        self, command: Sequence[str], listeners: Sequence[int], preload: bool, on_end: Callable[[ChildProcess], None]
    ) -> None:
        self._command = command
        self._listeners = tuple(listeners)
        self._preload = preload and is_supported()
        if preload and not self._preload:
            logger.info("server.preload is off: this system does not name processes by descriptors (pidfd_open)")
        self._on_end = on_end
        self._parents: list[ForkServerProcess] = []
        self._current: ForkServerProcess | None = None
        self._former: ForkServerProcess | None = None
        self._told: ForkServerProcess | None = None
        self._backoff = RestartBackoff()
        self._changing = asyncio.Lock()
        self._closing = False
        self._watching: set[asyncio.Task[None]] = set()

    @property
    def starting(self) -> list[ForkServerProcess]:
        """The parents that import."""
        return [parent for parent in self._parents if not parent.is_ready]

    async def launch(self, slot: str, control: int, stacks: int) -> ProcessHandle:
        """Return a new process for *slot*, which gets the descriptors; raises WorkerFailed."""
        reason = ""
        for _ in range(ATTEMPTS):
            parent = await self._parent()
            if parent is None or parent.threads:
                return await self._execute("--worker", WorkerArgs(slot, control, stacks, self._listeners))
            try:
                return await parent.fork(slot, (control, stacks))
            except ForkServerExited as error:
                reason = str(error)
        raise WorkerFailed(f"worker {slot}", reason)

    async def renew(self) -> None:
        """Begin a generation: import anew; raises WorkerFailed when that fails, and nothing has changed."""
        if self._preload:
            async with self._changing:
                self._former, self._current = self._current, await self._start()

    def keep(self) -> None:
        """Let the former parent end with its last worker."""
        if self._former is not None:
            self._former.close()
        self._former = None

    def revert(self) -> None:
        """Go back to the former parent, since no worker of the new one has started."""
        if self._former is not None and self._current is not None:
            self._current.close()
            self._current = self._former
        self._former = None

    def tell_effects(self) -> None:
        """Log, once for each parent, what importing has done that matters to workers which are forked."""
        parent = self._current
        if parent is None or parent is self._told:
            return
        self._told = parent
        if parent.threads:
            logger.warning(
                "server.preload is off: importing has started threads (%s), which a fork would lose; "
                "each worker imports for itself",
                ", ".join(parent.threads),
            )
        for warning in parent.warnings if not parent.threads else ():
            logger.warning("%s", warning)

    def close(self, number: int) -> None:
        """Start no more; send the signal to parents that still import."""
        self._closing = True
        for parent in self._parents:
            parent.close()
            if not parent.is_ready:
                parent.signal(number)

    def kill(self) -> None:
        """Kill the parents that still import."""
        for parent in self.starting:
            parent.signal(signal.SIGKILL)

    async def wait_until_closed(self) -> None:
        """Wait until the parents have ended, now that no worker is left."""
        await asyncio.gather(*(parent.wait_until_closed() for parent in self._parents))

    async def _parent(self) -> ForkServerProcess | None:
        """Return the parent of the current generation, a new one where it has ended."""
        if not self._preload:
            return None
        async with self._changing:
            if self._current is None or (self._current.ended.done() and not self._current.threads):
                self._current = await self._start()
            return self._current

    async def _start(self) -> ForkServerProcess:
        ours, theirs = fork_messages.pair()
        stacks, written = os.pipe()
        try:
            process = await self._execute("--fork-server", WorkerArgs("", theirs.fileno(), written, self._listeners))
        except BaseException:
            ours.close()
            os.close(stacks)
            raise
        finally:
            theirs.close()
            os.close(written)
        parent = ForkServerProcess(process, stacks, ours)
        self._parents.append(parent)
        self._begin_watch(parent)
        if self._closing:
            self.close(signal.SIGTERM)
        await parent.wait_until_ready()
        return parent

    async def _execute(self, option: str, place: WorkerArgs) -> ProcessHandle:
        """Return a process of its own group, so that Ctrl-C reaches the supervisor alone."""
        inherited = [place.control, place.stacks, *place.listeners]
        command = [sys.executable, *self._command, option, str(place)]
        try:
            return await asyncio.create_subprocess_exec(*command, pass_fds=inherited, process_group=0)
        except OSError as error:
            raise WorkerFailed("a process", str(error)) from error

    def _begin_watch(self, parent: ForkServerProcess) -> None:
        watch = asyncio.create_task(self._watch(parent))
        self._watching.add(watch)
        watch.add_done_callback(self._watching.discard)

    async def _watch(self, parent: ForkServerProcess) -> None:
        """Start another parent when *parent* has ended by itself: its workers go on, but none could follow them."""
        status = await parent.ended
        self._parents.remove(parent)
        self._on_end(parent)
        if parent is not self._current or parent.threads or self._closing:
            return
        self._backoff.count_crash(asyncio.get_running_loop().time() - parent.started)
        delay = self._backoff.delay
        when = f"in {delay:g}s" if delay else "now"
        logger.error("%s: %s; its workers go on, and a new one starts %s", parent, described(status), when)
        await asyncio.sleep(delay)
        if not self._closing:
            await self._replace()

    async def _replace(self) -> None:
        try:
            await self._parent()
        except WorkerFailed as error:
            logger.error("%s; it is tried again when a worker is to start", error)
        else:
            self.tell_effects()
