"""``scalekit run --reload``: start the whole service again when its code or configuration changes."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

logger = logging.getLogger("scalekit")

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
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
    try:
        from watchfiles import DefaultFilter, watch
    except ImportError:
        raise click.UsageError(f"--reload needs watchfiles: {REMEDY}") from None

    class SourceFilter(DefaultFilter):
        """Code and configuration, without caches, virtual environments and version control."""

        def __call__(self, change: object, path: str) -> bool:
            return path.endswith(SUFFIXES) and super().__call__(change, path)  # type: ignore[arg-type] # any change

    folders = {Path.cwd(), Path(file).resolve().parent}
    command = [sys.executable, "-m", "scalekit", "run", *arguments]
    with _stop_event() as stop:
        service = _start(command)
        for changes in watch(*folders, watch_filter=SourceFilter(), debounce=DEBOUNCE, stop_event=stop):
            names = sorted({_relative(path) for _, path in changes})
            logger.info("changed: %s; starting again", ", ".join(names))
            _stop(service)
            service = _start(command)
        return _stop(service)


@contextmanager
def _stop_event() -> Iterator[threading.Event]:
    """Return an event that the signals which end a process set."""
    stop = threading.Event()
    previous = {number: signal.signal(number, lambda *_: stop.set()) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start the service in a process group of its own: Ctrl-C reaches it through this process, once."""
    return subprocess.Popen(command, process_group=0)


def _stop(service: subprocess.Popen[bytes]) -> int:
    """End *service* in order, or by force after STOP_TIMEOUT; return its exit status."""
    service.terminate()
    try:
        return service.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        logger.warning("the service did not end within %g s and is killed", STOP_TIMEOUT)
        service.kill()
        return service.wait()


def _relative(path: str) -> str:
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path
