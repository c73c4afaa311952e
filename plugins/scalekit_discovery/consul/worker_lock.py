"""Which of several workers speaks for their instance: whoever holds a lock that the kernel takes back when it dies."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from pathlib import Path


class WorkerLock:
    """The right to speak for the instance *identifier* on this machine."""

    def __init__(self, identifier: str) -> None:
        digest = hashlib.sha256(identifier.encode()).hexdigest()[:24]
        self._path = Path(tempfile.gettempdir(), f"scalekit-discovery-{os.getuid()}-{digest}.lock")
        self._file: int | None = None

    @property
    def held(self) -> bool:
        """Whether this process has it."""
        return self._file is not None

    def take(self) -> bool:
        """Take it unless another process has it; tell whether it is ours. Raises OSError when there is no lock."""
        if self._file is not None:
            return True
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        self._file = file
        return True

    def give_back(self) -> None:
        """Let another have it; the file stays, since somebody may be about to lock it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
