"""A file lock that elects the worker that registers the instance; the kernel releases it when its holder exits."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from pathlib import Path

from scalekit import lock_file


class WorkerLock:
    """The lock of the instance *service_id* on this machine."""

    def __init__(self, service_id: str) -> None:
        digest = hashlib.sha256(service_id.encode()).hexdigest()[:24]
        self._path = Path(tempfile.gettempdir(), f"scalekit-discovery-{_user()}-{digest}.lock")
        self._file: int | None = None

    @property
    def acquired(self) -> bool:
        """Whether this process has the lock."""
        return self._file is not None

    def acquire(self) -> bool:
        """Acquire the lock without waiting; return whether this process has it; raise OSError without a file."""
        if self._file is not None:
            return True
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
        try:
            lock_file(file, wait=False)
        except BlockingIOError:
            os.close(file)
            return False
        self._file = file
        return True

    def release(self) -> None:
        """Release the lock; the file stays, because another process may be about to lock it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _user() -> int:
    """Return the id of the user, or 0 on Windows, where each user has an own temporary folder."""
    return 0 if sys.platform == "win32" else os.getuid()
