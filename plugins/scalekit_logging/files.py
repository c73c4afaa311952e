"""A file of lines that begins anew when it is full, shared by any number of processes.

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

from scalekit_logging.lines import LONGEST_LINE
from scalekit_logging.outlets import Loss, reason_of

LOCK_TIME = 1.0
"""Seconds to wait for other processes."""
_ASK_AGAIN = 0.002
_MODE = 0o640


class RotatingFile:
    """The file *name* in *directory*: of *max_size* bytes at most, with *keep* full ones beside it."""

    def __init__(self, directory: str, name: str, max_size: int, keep: int) -> None:
        self.name = name
        self._path = Path(directory) / name
        self._max_size = max_size
        self._keep = keep
        self._descriptor = -1
        self._inode = (0, 0)
        self._size = 0

    def open(self) -> None:
        """Make the directory and the file; raises OSError when that cannot be."""
        with self._locked():
            pass

    def write(self, lines: list[bytes]) -> Loss | None:
        """Append *lines*, each of them whole or not at all."""
        written = 0
        try:
            while written < len(lines):
                with self._locked() as size:
                    written += self._append(lines[written:] if written else lines, size)
        except OSError as error:
            return Loss(len(lines) - written, reason_of(error))
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

    def _append(self, lines: list[bytes], size: int) -> int:
        """Append as many of *lines* as fit, and return how many that were."""
        data = b"".join(lines)
        if size + len(data) > self._max_size:
            fitting = _fitting(lines, self._max_size - size)
            if not fitting and size:
                self._rotate()
                return 0
            lines = fitting or lines[:1]  # one that is too long for any file gets a file of its own
            data = b"".join(lines)
        self._write(data, size)
        return len(lines)

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
        for number in range(self._keep - 1, 0, -1):
            _move(self._numbered(number), self._numbered(number + 1))
        if self._keep:
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


def _fitting(lines: list[bytes], room: int) -> list[bytes]:
    """Return those of *lines*, from the first on, that fit into *room*."""
    count = 0
    for line in lines:
        room -= len(line)
        if room < 0:
            break
        count += 1
    return lines[:count]


def _move(old: Path, new: Path) -> None:
    try:
        os.replace(old, new)
    except FileNotFoundError:
        pass
