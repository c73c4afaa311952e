"""Start worker processes: forked from a fork server (`server.preload`), or each as a new interpreter."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence

from scalekit.runner.workers import fork_messages
from scalekit.runner.workers.backoff import RestartBackoff
from scalekit.runner.workers.child_process import ChildProcess, ProcessHandle, WorkerFailed, describe_exit
from scalekit.runner.workers.fork_server_process import ForkServerExited, ForkServerProcess
from scalekit.runner.workers.forked_process import is_supported
from scalekit.runner.workers.worker_args import WorkerArgs

logger = logging.getLogger("scalekit")

ATTEMPTS = 2
"""Fork servers in a row that may exit while forking a worker before the start of that worker fails."""


class Launcher:
    """Starts workers by *command*, to which the arguments of each are appended, with *listeners* inherited.

    With *preload* each generation of workers has a fork server; :meth:`start_generation` starts the next. *on_end* is
    called with each fork server that has exited.
    """

    def __init__(
        self, command: Sequence[str], listeners: Sequence[int], preload: bool, on_end: Callable[[ChildProcess], None]
    ) -> None:
        self._command = command
        self._listeners = tuple(listeners)
        self._preload = preload and is_supported()
        if preload and not self._preload:
            logger.info("server.preload is off: this system does not support pidfd_open")
        self._on_end = on_end
        self._fork_servers: list[ForkServerProcess] = []
        self._current: ForkServerProcess | None = None
        self._former: ForkServerProcess | None = None
        self._logged: ForkServerProcess | None = None
        self._backoff = RestartBackoff()
        self._changing = asyncio.Lock()
        self._closing = False
        self._watching: set[asyncio.Task[None]] = set()

    @property
    def starting(self) -> list[ForkServerProcess]:
        """The fork servers that are still importing."""
        return [fork_server for fork_server in self._fork_servers if not fork_server.is_ready]

    async def launch(self, slot: str, control: int, stacks: int) -> ProcessHandle:
        """Return a new process for *slot* with the descriptors *control* and *stacks*; raises WorkerFailed."""
        reason = ""
        for _ in range(ATTEMPTS):
            fork_server = await self._fork_server()
            if fork_server is None or fork_server.threads:
                return await self._execute("--worker", WorkerArgs(slot, control, stacks, self._listeners))
            try:
                return await fork_server.fork(slot, (control, stacks))
            except ForkServerExited as error:
                reason = str(error)
        raise WorkerFailed(f"worker {slot}", reason)

    async def start_generation(self) -> None:
        """Start a new fork server, which imports the current code; on WorkerFailed the old one stays."""
        if self._preload:
            async with self._changing:
                self._former, self._current = self._current, await self._start()

    def commit_generation(self) -> None:
        """Let the former fork server exit with its last worker."""
        if self._former is not None:
            self._former.close()
        self._former = None

    def roll_back_generation(self) -> None:
        """Return to the former fork server, because no worker of the new one has started."""
        if self._former is not None and self._current is not None:
            self._current.close()
            self._current = self._former
        self._former = None

    def log_side_effects(self) -> None:
        """Log, once for each fork server, the side effects of importing that affect forked workers."""
        fork_server = self._current
        if fork_server is None or fork_server is self._logged:
            return
        self._logged = fork_server
        if fork_server.threads:
            logger.warning(
                "server.preload is off: importing started threads (%s), which do not survive a fork; "
                "each worker imports for itself",
                ", ".join(fork_server.threads),
            )
        for warning in fork_server.warnings if not fork_server.threads else ():
            logger.warning("%s", warning)

    def close(self, number: int) -> None:
        """Start no more processes; forward the signal to fork servers that are still importing."""
        self._closing = True
        for fork_server in self._fork_servers:
            fork_server.close()
            if not fork_server.is_ready:
                fork_server.signal(number)

    def kill(self) -> None:
        """Kill the fork servers that are still importing."""
        for fork_server in self.starting:
            fork_server.signal(signal.SIGKILL)

    async def wait_until_closed(self) -> None:
        """Wait until the fork servers have exited after their last workers."""
        await asyncio.gather(*(fork_server.wait_until_closed() for fork_server in self._fork_servers))

    async def _fork_server(self) -> ForkServerProcess | None:
        """Return the fork server of the current generation; start another when it has exited."""
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
        fork_server = ForkServerProcess(process, stacks, ours)
        self._fork_servers.append(fork_server)
        self._begin_watch(fork_server)
        if self._closing:
            self.close(signal.SIGTERM)
        await fork_server.wait_until_ready()
        return fork_server

    async def _execute(self, option: str, args: WorkerArgs) -> ProcessHandle:
        """Return a process in its own process group, so that Ctrl-C reaches only the supervisor."""
        inherited = [args.control, args.stacks, *args.listeners]
        command = [sys.executable, *self._command, option, str(args)]
        try:
            return await asyncio.create_subprocess_exec(*command, pass_fds=inherited, process_group=0)
        except OSError as error:
            raise WorkerFailed("a process", str(error)) from error

    def _begin_watch(self, fork_server: ForkServerProcess) -> None:
        watch = asyncio.create_task(self._watch(fork_server))
        self._watching.add(watch)
        watch.add_done_callback(self._watching.discard)

    async def _watch(self, fork_server: ForkServerProcess) -> None:
        """Start another fork server when this one crashes: its workers keep serving, but could not be replaced."""
        status = await fork_server.ended
        self._fork_servers.remove(fork_server)
        self._on_end(fork_server)
        if fork_server is not self._current or fork_server.threads or self._closing:
            return
        self._backoff.count_crash(asyncio.get_running_loop().time() - fork_server.started)
        delay = self._backoff.delay
        when = f"in {delay:g}s" if delay else "now"
        logger.error(
            "%s: %s; its workers keep serving, and a new one starts %s", fork_server, describe_exit(status), when
        )
        await asyncio.sleep(delay)
        if not self._closing:
            await self._replace()

    async def _replace(self) -> None:
        try:
            await self._fork_server()
        except WorkerFailed as error:
            logger.error("%s; the next start of a worker tries again", error)
        else:
            self.log_side_effects()
