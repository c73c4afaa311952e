"""Fork workers from a process that has imported plugins and application (`server.preload`).

The process runs no event loop, starts no thread and serves no requests. It exits when the supervisor has closed the
connection or exited, and every worker that it forked has exited.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import select
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from scalekit.runner.workers.fork_messages import ForkKind, ForkMessage, receive, send
from scalekit.runner.workers.import_side_effects import ImportSideEffects
from scalekit.runner.workers.worker_args import WorkerArgs

SIGNALS = tuple(each for each in signal.Signals if each.name in ("SIGTERM", "SIGINT", "SIGHUP"))
"""Signals that are blocked here: they also arrive when all processes of a service are signalled at once."""


class ForkServer:
    """The fork server; created before anything is imported, with the *args* of its command line."""

    def __init__(self, args: WorkerArgs) -> None:
        self._args = args
        self._supervisor = socket.socket(fileno=args.control)
        self._poll = select.poll()
        self._workers: dict[int, int] = {}
        self._stopping = False
        self._side_effects = ImportSideEffects()
        self._thresholds = gc.get_threshold()
        # Freed garbage leaves holes in shared pages; workers would fill them and so copy the pages.
        gc.set_threshold(0)

    def serve_forks(self, freeze: bool) -> WorkerArgs:
        """Fork workers on request of the supervisor; return only in the workers, each with its own arguments.

        The fork server itself exits inside this call. With *freeze* garbage collections skip all imported objects.
        """
        threads = self._side_effects.threads()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        self._send(ForkKind.READY, {"threads": threads, "warnings": self._side_effects.warnings()})
        if threads:
            _exit()
        if freeze:
            gc.freeze()
        args = self._serve()
        self._become_worker(args)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)  # signals that were sent to the worker meanwhile arrive now
        return args

    def _serve(self) -> WorkerArgs:
        self._poll.register(self._supervisor, select.POLLIN)
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor in self._workers:
                    self._reap(descriptor)
                elif (request := receive(self._supervisor)) is None:
                    self._stop()
                elif args := self._fork(request):
                    return args
            if self._stopping and not self._workers:
                _exit()

    def _fork(self, request: ForkMessage) -> WorkerArgs | None:
        """Return the arguments of the worker in the worker, None in this process."""
        control, stacks = request.descriptors
        try:
            pid = os.fork()
            if not pid:
                return WorkerArgs(request.value, control, stacks, self._args.listeners)
        except OSError as error:
            self._send(ForkKind.FAILED, str(error))
        else:
            self._watch(pid)
        os.close(control)
        os.close(stacks)
        return None

    def _watch(self, pid: int) -> None:
        try:
            worker = os.pidfd_open(pid)
        except OSError as error:  # without a pidfd the supervisor could not signal or watch it
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            self._send(ForkKind.FAILED, str(error))
            return
        self._workers[worker] = pid
        self._poll.register(worker, select.POLLIN)
        self._send(ForkKind.FORKED, pid, [worker])

    def _reap(self, worker: int) -> None:
        self._poll.unregister(worker)
        pid = self._workers.pop(worker)
        _, status = os.waitpid(pid, 0)
        os.close(worker)
        self._send(ForkKind.ENDED, [pid, os.waitstatus_to_exitcode(status)])

    def _send(self, kind: ForkKind, value: object, descriptors: Sequence[int] = ()) -> None:
        with suppress(ConnectionError):  # the supervisor has exited
            send(self._supervisor, kind, value, descriptors)

    def _stop(self) -> None:
        """Fork no more; close the listeners, so that the kernel refuses connections once no worker is left."""
        self._stopping = True
        self._poll.unregister(self._supervisor)
        for listener in self._args.listeners:
            os.close(listener)

    def _become_worker(self, args: WorkerArgs) -> None:
        faulthandler.enable(args.stacks)
        os.setpgid(0, 0)  # Ctrl-C reaches the supervisor alone
        for descriptor in (*self._workers, self._args.stacks):
            os.close(descriptor)
        self._supervisor.close()
        if gc.get_threshold()[0] == 0:  # else the application has set its own
            gc.set_threshold(*self._thresholds)
        if "numpy.random" in sys.modules:
            sys.modules["numpy.random"].seed()  # as Python itself does for the module random


def _exit() -> NoReturn:
    """Exit without running the exit handlers of imported modules, which run in each worker."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
