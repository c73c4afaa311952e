"""The ``scalekit`` command for tests: one forked process per run.

One process imports all modules of the commands and waits. For each run it forks a child with the folder, environment
and arguments of the request; changes of a command (modules, signals, logging, the garbage collector) end with it.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import sys
import tempfile
import traceback
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from struct import pack, unpack
from subprocess import DEVNULL, CompletedProcess, Popen, TimeoutExpired
from threading import Lock
from typing import NoReturn

from tests.processes import SPAWNER

ROOT = Path(__file__).parent.parent
LIMIT = 60
"""Seconds after which a run is killed."""
RUNS_WHEN_IMPORTED = (".__main__", ".asgi")


def scalekit(*words: str, folder: Path, environment: Mapping[str, str] | None = None) -> CompletedProcess[str]:
    """Run ``scalekit`` with *words* in *folder* to its end, without a terminal."""
    variables = dict(os.environ if environment is None else environment)
    return _template().run(list(words), folder, variables)


@cache
def _template() -> Template:
    return Template()


class Template:
    """The process that forks; it ends when its socket closes."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = SPAWNER.submit(self._spawn, theirs.fileno()).result()
        self._replies = self._socket.makefile("rb")
        atexit.register(self._close)

    def run(self, words: list[str], folder: Path, environment: dict[str, str]) -> CompletedProcess[str]:
        """Let a child run the command, and return its status and output."""
        request = json.dumps([words, str(folder), environment]).encode()
        with self._lock, tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            socket.send_fds(self._socket, [pack(">I", len(request))], [output.fileno(), errors.fileno()])
            self._socket.sendall(request)
            status = int(self._replies.readline())
            output.seek(0)
            errors.seek(0)
            done = CompletedProcess(["scalekit", *words], status, output.read().decode(), errors.read().decode())
        if status == -signal.SIGALRM:
            raise TimeoutExpired(done.args, LIMIT, done.stdout, done.stderr)
        return done

    def _spawn(self, descriptor: int) -> Popen[bytes]:
        command = ["setpriv", "--pdeathsig=KILL", sys.executable, "-m", "tests.command_line", str(descriptor)]
        return Popen(command, cwd=ROOT, stdin=DEVNULL, pass_fds=[descriptor], process_group=0)

    def _close(self) -> None:
        self._replies.close()
        self._socket.close()
        self._process.wait()


def _fork_for_each_request(descriptor: int) -> None:
    """Fork for each request; only a child returns, to run the command."""
    with socket.socket(fileno=descriptor) as requests:
        while True:
            head, descriptors, _, _ = socket.recv_fds(requests, 4, 2)
            if not head:
                sys.exit()
            words, folder, environment = json.loads(_exactly(requests, *unpack(">I", head)))
            pid = os.fork()
            if pid == 0:
                _become(words, folder, environment, descriptors)
                return
            for each in descriptors:
                os.close(each)
            _, status = os.waitpid(pid, 0)
            requests.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))


def _exactly(requests: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += requests.recv(size - len(data))
    return data


def _become(words: list[str], folder: str, environment: dict[str, str], descriptors: list[int]) -> None:
    """Be as a process that was started for one command."""
    signal.alarm(LIMIT)
    for target, descriptor in zip((1, 2), descriptors, strict=True):
        os.dup2(descriptor, target)
        os.close(descriptor)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[1:] = words
    paths = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:1] = [folder, *paths]
    importlib.invalidate_caches()


def _run_and_exit() -> NoReturn:
    """Run the command, and exit without the interpreter's teardown, which takes longer than most commands."""
    status = 1
    try:
        runpy.run_module("scalekit", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else status
    except BaseException:
        traceback.print_exc()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _import_all() -> None:
    """Import every module of the host and of the plugins."""
    packages = ["scalekit", *(point.module.partition(".")[0] for point in entry_points(group="scalekit"))]
    for name in packages:
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            if not module.name.endswith(RUNS_WHEN_IMPORTED):
                importlib.import_module(module.name)


if __name__ == "__main__":
    _import_all()
    gc.freeze()  # else the collector of each child copies the memory of all modules
    _fork_for_each_request(int(sys.argv[1]))
    _run_and_exit()
