"""Exclusive locks of open files between processes, by flock; Windows has none."""

from __future__ import annotations

import errno
import sys

if sys.platform != "win32":
    import fcntl


def lock_file(descriptor: int, *, wait: bool = True) -> None:
    """Lock the open file *descriptor* against other processes, until it is unlocked or closed.

    Raises ``BlockingIOError`` when another process has the lock and *wait* is false, and ``OSError`` when the file
    system or the platform has no such locks.
    """
    if sys.platform == "win32":
        raise OSError(errno.EOPNOTSUPP, "Windows has no locks of this kind; run the service on Linux or macOS")
    fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)


def unlock_file(descriptor: int) -> None:
    """Unlock the open file *descriptor*."""
    if sys.platform != "win32":
        fcntl.flock(descriptor, fcntl.LOCK_UN)
