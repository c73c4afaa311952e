"""``scalekit run --reload``: start the whole service again when its code or configuration changes."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Self

import click

logger = logging.getLogger("scalekit")

SIGNALS = tuple(each for each in signal.Signals if each.name in ("SIGINT", "SIGTERM", "SIGHUP"))
SUFFIXES = (".py", ".toml")
STOP_TIMEOUT = 10.0
"""Seconds after which a service that does not end is killed; a developer waits for it."""
DEBOUNCE = 300
"""Milliseconds during which changes are collected; editors and version control write several files."""
REMEDY = "pip install 'scalekit-asgi[reload]'"


def run_with_reload(file: str, arguments: Sequence[str]) -> int:
    """Run ``scalekit run`` with *arguments* in a process, anew after every change; return its last exit status.

    The working directory and the folder of *file* are watched. A service that has ended, such as after a mistake in the
    file, is started again at the next change.
    """
    if sys.platform == "win32":
        raise click.UsageError("--reload needs Linux or macOS; start the service again by hand")
    try:
        from watchfiles import DefaultFilter, watch
    except ImportError:
        raise click.UsageError(f"--reload needs watchfiles: {REMEDY}") from None

    class SourceFilter(DefaultFilter):
        """Code and configuration, without caches, virtual environments and version control."""

        def __call__(self, change: object, path: str) -> bool:
            return path.endswith(SUFFIXES) and super().__call__(change, path)  # type: ignore[arg-type] # any change

    folders = {Path.cwd(), Path(file).resolve().parent}
    with _Signals() as signals:
        service = _start(arguments)
        try:
            for changes in watch(*folders, watch_filter=SourceFilter(), debounce=DEBOUNCE, stop_event=signals.stop):
                names = sorted({_relative(path) for _, path in changes})
                logger.info("changed: %s; starting again", ", ".join(names))
                _stop(service, signals)
                if signals.stop.is_set():
                    break
                service = _start(arguments)
        finally:
            status = _stop(service, signals)
        return status


def _start(arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "scalekit", "run", *arguments])


class _Signals:
    """Handles the signals that end a process: ``stop`` is set, and ``interrupted`` is whether Ctrl-C sent the signal.

    The service is in the process group of this process, so that a debugger in it can read the terminal. Ctrl-C
    therefore interrupts the service too.
    """

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.interrupted = False

    def __enter__(self) -> Self:
        self._previous = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.interrupted |= number == signal.SIGINT and _is_in_foreground()
        self.stop.set()


def _is_in_foreground() -> bool:
    """Return whether this process is in the foreground of its terminal, which sends SIGINT to it on Ctrl-C."""
    try:
        with open("/dev/tty", "rb", buffering=0) as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False


def _stop(service: subprocess.Popen[bytes], signals: _Signals) -> int:
    """End *service* in order, or by force after STOP_TIMEOUT; return its exit status."""
    service.send_signal(signal.SIGCONT)  # a stopped process handles no other signal
    if not (signals.interrupted and _has_ended(service)):  # a second signal would cancel its requests at once
        service.send_signal(signal.SIGINT)  # unlike SIGTERM, it skips server.drain_delay
    if not _has_ended(service):
        logger.warning("the service did not end within %g s and is killed", STOP_TIMEOUT)
        service.kill()
    return service.wait()


def _has_ended(service: subprocess.Popen[bytes]) -> bool:
    """Return whether *service* ends within STOP_TIMEOUT."""
    try:
        service.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        return False
    return True


def _relative(path: str) -> str:
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path
