"""The process that has imported plugins and application, and forks a worker whenever the supervisor wants one.

It runs no event loop, starts no thread and serves nothing. It ends when the supervisor wants no more workers of it, or
has gone, and all that it has forked have ended.
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

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals that reach this process too when somebody signals all processes of a service: it ends with its supervisor."""


class ForkServer:
    """The process itself, in the *place* that its supervisor has given to it; made before anything is imported."""

    def __init__(self, place: WorkerArgs) -> None:
        self._place = place
        self._supervisor = socket.socket(fileno=place.control)
        self._poll = select.poll()
        self._workers: dict[int, int] = {}
        self._stopping = False
        self._effects = ImportSideEffects()
        self._thresholds = gc.get_threshold()
        gc.set_threshold(0)  # garbage that is freed leaves holes, and what workers put there unshares pages

    def wait_for_fork(self, freeze: bool) -> WorkerArgs:
        """Fork workers while the supervisor asks for some; return in each of them, with its place.

        This process itself ends in here. With *freeze* what has been imported is left out of garbage collections.
        """
        threads = self._effects.threads()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        self._tell(ForkKind.READY, {"threads": threads, "warnings": self._effects.warnings()})
        if threads:
            _exit()
        if freeze:
            gc.freeze()
        place = self._serve()
        self._become_worker(place)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)  # what was sent to the worker meanwhile arrives now
        return place

    def _serve(self) -> WorkerArgs:
        self._poll.register(self._supervisor, select.POLLIN)
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor in self._workers:
                    self._reap(descriptor)
                elif (request := receive(self._supervisor)) is None:
                    self._stop()
                elif place := self._fork(request):
                    return place
            if self._stopping and not self._workers:
                _exit()

    def _fork(self, request: ForkMessage) -> WorkerArgs | None:
        """Return the place in the worker, None in this process."""
        control, stacks = request.descriptors
        try:
            pid = os.fork()
            if not pid:
                return WorkerArgs(request.value, control, stacks, self._place.listeners)
        except OSError as error:
            self._tell(ForkKind.FAILED, str(error))
        else:
            self._keep(pid)
        os.close(control)
        os.close(stacks)
        return None

    def _keep(self, pid: int) -> None:
        try:
            worker = os.pidfd_open(pid)
        except OSError as error:  # the supervisor could neither signal it nor learn of its end
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            self._tell(ForkKind.FAILED, str(error))
            return
        self._workers[worker] = pid
        self._poll.register(worker, select.POLLIN)
        self._tell(ForkKind.FORKED, pid, [worker])

    def _reap(self, worker: int) -> None:
        self._poll.unregister(worker)
        pid = self._workers.pop(worker)
        _, status = os.waitpid(pid, 0)
        os.close(worker)
        self._tell(ForkKind.ENDED, [pid, os.waitstatus_to_exitcode(status)])

    def _tell(self, kind: ForkKind, value: object, descriptors: Sequence[int] = ()) -> None:
        with suppress(ConnectionError):  # the supervisor has gone
            send(self._supervisor, kind, value, descriptors)

    def _stop(self) -> None:
        """Fork no more, and let connections be refused once no worker takes them."""
        self._stopping = True
        self._poll.unregister(self._supervisor)
        for listener in self._place.listeners:
            os.close(listener)

    def _become_worker(self, place: WorkerArgs) -> None:
        faulthandler.enable(place.stacks)
        os.setpgid(0, 0)  # Ctrl-C reaches the supervisor alone
        for descriptor in (*self._workers, self._place.stacks):
            os.close(descriptor)
        self._supervisor.close()
        if gc.get_threshold()[0] == 0:  # else the application has chosen its own
            gc.set_threshold(*self._thresholds)
        if "numpy.random" in sys.modules:
            sys.modules["numpy.random"].seed()  # as Python itself does for the module random


def _exit() -> NoReturn:
    """End this process without the exit handlers of what was imported: these are for each worker to run."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
