"""Size-based log rotation of a file that several processes write.

Every batch is written while the file is locked: only then a size that was read is still true, a half batch can be taken
back, and one process at a time moves full files on. Whoever gets the lock finds by the inode whether the name stands
for another file by now, whoever moved this one, and takes away the half line of a process that was killed in it. Each
call here lets other threads run and may then wait for its turn again, so there are few of them.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from scalekit_logging.json_formatter import LONGEST_LINE
from scalekit_logging.sinks import Loss, count_lines, reason_of

LOCK_TIME = 1.0
"""Seconds to wait for other processes."""
_ASK_AGAIN = 0.002
_MODE = 0o640


class RotatingFile:
    """The file *name* in *directory*: of *max_size* bytes at most, with *backup_count* rotated ones beside it."""

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
        """Append the lines of *text*, each of them whole or not at all."""
        try:
            while text:
                with self._locked() as size:
                    text = self._append(text, size)
        except OSError as error:
            return Loss(count_lines(text), reason_of(error))
        return None

    def waiting(self) -> int:
        """Return 0: what cannot be written is lost."""
        return 0

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    @contextmanager
    def _locked(self) -> Generator[int, None, None]:
        """Lock the file that has the name, and give its size."""
        while True:
            if self._descriptor < 0:
                self._reopen()
            _wait_for(self._descriptor)
            named = self._named()
            if named is not None and (named.st_ino, named.st_dev) == self._inode:
                break
            self.close()
        try:
            yield self._mended(named.st_size)
        finally:
            if self._descriptor >= 0:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _reopen(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _MODE)
        mine = os.fstat(self._descriptor)
        self._inode = (mine.st_ino, mine.st_dev)
        self._size = 0

    def _named(self) -> os.stat_result | None:
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
            end = end or text.index(b"\n") + 1  # one that is too long for any file gets a file of its own
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

    def _mended(self, size: int) -> int:
        """Take a half line off the end of the file, and return the file's size."""
        if size in (0, self._size):
            return size
        start = max(0, size - LONGEST_LINE)
        end = os.pread(self._descriptor, size - start, start)
        whole = end.rfind(b"\n") + 1
        if whole < len(end) and (whole or not start):
            os.ftruncate(self._descriptor, start + whole)
        return start + whole

    def _rotate(self) -> None:
        """Move every full file on by one; the oldest falls out. The one in use goes last: it holds the lock."""
        for number in range(self._backup_count - 1, 0, -1):
            _move(self._numbered(number), self._numbered(number + 1))
        if self._backup_count:
            os.replace(self._path, self._numbered(1))
        else:
            os.unlink(self._path)
        self.close()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self.name}.{number}")


def _wait_for(descriptor: int) -> None:
    deadline = time.monotonic() + LOCK_TIME
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_ASK_AGAIN)
        else:
            return


def _move(old: Path, new: Path) -> None:
    try:
        os.replace(old, new)
    except FileNotFoundError:
        pass
