"""Force the process to exit when threads or the event loop hang.

The interpreter waits without a limit for every non-daemon thread, and the event loop for the threads of its executor:
one handler that hangs in a thread, or one database connection that is not closed, would keep the process running. The
watchdog is a raw ``_thread``, which the interpreter does not wait for and which a signal handler can start at any time.
"""

from __future__ import annotations

import _thread
import logging
import os
import sys
import threading
import time
import traceback
from types import FrameType

logger = logging.getLogger("scalekit")

LOG_TIMEOUT = 1.0
"""Seconds to write the last log lines; a hanging thread may hold the lock of a log handler."""
LOG_FLUSH_TIME = 0.2
"""Seconds for a log that is written by a background thread to be flushed."""


class Watchdog:
    """Exits this process at a deadline, which can only be moved forward."""

    def __init__(self) -> None:
        self._end = float("inf")
        self._status = 0

    def exit_within(self, seconds: float, status: int) -> None:
        """Exit with *status* within *seconds*; safe in a signal handler."""
        end = time.monotonic() + seconds
        self._status = status
        if end < self._end:
            self._end = end
            _thread.start_new_thread(self._wait, (end,))

    def _wait(self, end: float) -> None:
        time.sleep(max(0.0, end - time.monotonic()))
        if end > self._end:  # an earlier deadline was set
            return
        logged = _thread.allocate_lock()
        logged.acquire()
        _thread.start_new_thread(_log_and_flush, (logged,))
        logged.acquire(timeout=LOG_TIMEOUT)
        os._exit(self._status)


def _log_and_flush(logged: _thread.LockType) -> None:
    """Log the threads that still run, flush all logs, and release *logged*."""
    try:
        for name, place in blocking_threads().items():
            logger.warning("the process exits although thread %r still runs%s", name, place)
        time.sleep(LOG_FLUSH_TIME)
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        logged.release()


def blocking_threads() -> dict[str, str]:
    """Return the name and location of each thread that keeps this process from exiting."""
    frames = sys._current_frames()
    blocking = [each for each in threading.enumerate() if not each.daemon and each.ident in frames]
    return {each.name: _location(frames[each.ident]) for each in blocking if each.ident is not None}


def _location(frame: FrameType) -> str:
    """Return the innermost line of *frame* outside the standard library and installed packages."""
    lines = [each for each in traceback.extract_stack(frame) if not _is_foreign(each.filename)]
    return f", at {lines[-1].filename}:{lines[-1].lineno} in {lines[-1].name}" if lines else ""


def _is_foreign(filename: str) -> bool:
    return "site-packages" in filename or filename.startswith((sys.base_prefix, sys.prefix, "<"))
