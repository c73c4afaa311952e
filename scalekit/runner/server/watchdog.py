"""End a process that does not end by itself.

The interpreter waits, without a limit, for every thread that is not a daemon, and the event loop before it for those of
its executor: one handler that hangs in a thread, or one connection of a database that nobody has closed, would keep
the process for ever. The watchdog is a thread below Python's own, so nothing waits for it, and it can be started where
a signal has interrupted anything.
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
"""Seconds for the last lines to be written; a thread that hangs may hold the lock of a log."""
LAST_LINES = 0.2
"""Seconds in which a log that is written by a thread of its own takes them."""


class Watchdog:
    """Ends this process at a time that can only come nearer."""

    def __init__(self) -> None:
        self._end = float("inf")
        self._status = 0

    def end_within(self, seconds: float, status: int) -> None:
        """End the process with *status* in *seconds* at the latest; safe in a signal handler."""
        end = time.monotonic() + seconds
        self._status = status
        if end < self._end:
            self._end = end
            _thread.start_new_thread(self._wait, (end,))

    def _wait(self, end: float) -> None:
        time.sleep(max(0.0, end - time.monotonic()))
        if end > self._end:  # another one comes sooner
            return
        told = _thread.allocate_lock()
        told.acquire()
        _thread.start_new_thread(_tell, (told,))
        told.acquire(timeout=LOG_TIMEOUT)
        os._exit(self._status)


def _tell(told: _thread.LockType) -> None:
    """Log what still runs, flush every log, and release *told*."""
    try:
        for name, place in running().items():
            logger.warning("the process ends without thread %r, which still runs%s", name, place)
        time.sleep(LAST_LINES)
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        told.release()


def running() -> dict[str, str]:
    """Return the name of each thread that keeps this process from ending, and where it is."""
    frames = sys._current_frames()
    kept = [each for each in threading.enumerate() if not each.daemon and each.ident in frames]
    return {each.name: _place(frames[each.ident]) for each in kept if each.ident is not None}


def _place(frame: FrameType) -> str:
    """Return where *frame* is: its innermost line outside the standard library and what is installed."""
    lines = [each for each in traceback.extract_stack(frame) if not _is_foreign(each.filename)]
    return f", at {lines[-1].filename}:{lines[-1].lineno} in {lines[-1].name}" if lines else ""


def _is_foreign(filename: str) -> bool:
    return "site-packages" in filename or filename.startswith((sys.base_prefix, sys.prefix, "<"))
