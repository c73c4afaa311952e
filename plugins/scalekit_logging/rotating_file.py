"""Size-based rotation of a log file that several processes write.

Every batch is written under an exclusive lock of the file, so its size is current, a partial batch can be truncated,
and only one process rotates. The process with the lock compares inodes to detect that the file was renamed or removed,
and truncates the partial line of a killed process. Each system call releases the GIL, so there are few of them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from scalekit import lock_file, unlock_file
from scalekit_logging.json_formatter import MAX_LINE_BYTES
from scalekit_logging.sinks import Loss, count_lines, reason_of

LOCK_TIMEOUT = 1.0
"""Seconds to wait for the lock."""
_LOCK_INTERVAL = 0.002
_MODE = 0o640


class RotatingFile:
    """The file *name* in *directory*: at most *max_size* bytes, and *backup_count* rotated files."""

    def __init__(self, directory: str, name: str, max_size: int, backup_count: int) -> None:
        self.name = name
        self._path = Path(directory) / name
        self._max_size = max_size
        self._backup_count = backup_count
        self._descriptor = -1
        self._inode = (0, 0)
        self._size = 0

    def open(self) -> None:
        """Create the directory and the file; raises OSError."""
        with self._locked():
            pass

    def write(self, text: bytes) -> Loss | None:
        """Append the lines of *text*, each of them completely or not at all."""
        try:
            while text:
                with self._locked() as size:
                    text = self._append(text, size)
        except OSError as error:
            return Loss(count_lines(text), reason_of(error))
        return None

    def pending(self) -> int:
        """Return 0: lines that cannot be written are lost at once."""
        return 0

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    @contextmanager
    def _locked(self) -> Generator[int, None, None]:
        """Lock the file at the path, and yield its size in bytes."""
        while True:
            if self._descriptor < 0:
                self._reopen()
            _lock(self._descriptor)
            current = self._stat()
            if current is not None and (current.st_ino, current.st_dev) == self._inode:
                break
            self.close()
        try:
            yield self._truncate_partial_line(current.st_size)
        finally:
            if self._descriptor >= 0:
                unlock_file(self._descriptor)

    def _reopen(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, _MODE)
        opened = os.fstat(self._descriptor)
        self._inode = (opened.st_ino, opened.st_dev)
        self._size = 0

    def _stat(self) -> os.stat_result | None:
        try:
            return os.stat(self._path)
        except FileNotFoundError:
            return None

    def _append(self, text: bytes, size: int) -> bytes:
        """Append as many lines of *text* as fit, and return the others."""
        end = len(text)
        if size + end > self._max_size:
            end = text.rfind(b"\n", 0, max(0, self._max_size - size)) + 1
            if not end and size:
                self._rotate()
                return text
            end = end or text.index(b"\n") + 1  # a line longer than max_size gets a file of its own
        self._write(text[:end], size)
        return text[end:]

    def _write(self, data: bytes, size: int) -> None:
        written = 0
        try:
            while written < len(data):
                written += os.write(self._descriptor, data[written:] if written else data)
        except OSError:
            os.ftruncate(self._descriptor, size)
            raise
        self._size = size + len(data)

    def _truncate_partial_line(self, size: int) -> int:
        """Truncate a partial last line, and return the size of the file in bytes."""
        if size in (0, self._size):
            return size
        start = max(0, size - MAX_LINE_BYTES)
        end = os.pread(self._descriptor, size - start, start)
        complete = end.rfind(b"\n") + 1
        if complete < len(end) and (complete or not start):
            os.ftruncate(self._descriptor, start + complete)
        return start + complete

    def _rotate(self) -> None:
        """Rename every file to the next number, the oldest first; the current file, which is locked, comes last."""
        for number in range(self._backup_count - 1, 0, -1):
            _rename(self._numbered(number), self._numbered(number + 1))
        if self._backup_count:
            os.replace(self._path, self._numbered(1))
        else:
            os.unlink(self._path)
        self.close()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self.name}.{number}")


def _lock(descriptor: int) -> None:
    deadline = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            lock_file(descriptor, wait=False)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_LOCK_INTERVAL)
        else:
            return


def _rename(old: Path, new: Path) -> None:
    try:
        os.replace(old, new)
    except FileNotFoundError:
        pass
