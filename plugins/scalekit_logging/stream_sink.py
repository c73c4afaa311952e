"""Sink for a stream that other processes may write to as well, such as standard error.

It may be a pipe whose reader has stopped, so nothing is written before there is room, and what waits is bounded. On a
pipe that several processes share, only a piece of PIPE_BUF bytes stays whole by itself; so they take turns, by a lock
that the kernel keeps with the pipe.
"""

from __future__ import annotations

import fcntl
import os
import select
import stat
from collections import deque

from scalekit_logging.console_formatter import LineFormat
from scalekit_logging.sinks import Loss, reason_of

BLOCKED = "reader stalled"
_PIECE = select.PIPE_BUF
_LARGE_PIECE = 1 << 20


class StreamSink:
    """The open *descriptor*, which gets lines in the given *shape*; *limit* bytes may wait."""

    def __init__(self, name: str, descriptor: int, shape: LineFormat, limit: int) -> None:
        self.name = name
        self._descriptor = descriptor
        self._shape = shape
        self._limit = limit
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._torn = False
        self._locked = False
        self._kind = 0

    def open(self) -> None:
        """Determine the kind of the stream."""
        try:
            self._kind = stat.S_IFMT(os.fstat(self._descriptor).st_mode)
        except OSError:
            self._kind = 0  # not open at all: writing will say so

    def write(self, text: bytes) -> Loss | None:
        """Write the lines of *text* after those that wait, as far as there is room now."""
        loss = self._queue(self._shape(text.splitlines(keepends=True))) if text else None
        try:
            self._write_while_there_is_room()
        except OSError as error:
            lost = len(self._lines)
            self._lines.clear()
            self._bytes = 0
            self._unlock()
            return Loss(lost + (loss.lines if loss else 0), reason_of(error))
        return loss

    def waiting(self) -> int:
        """Return the number of pending lines."""
        return len(self._lines)

    def close(self) -> None:
        """Drop pending lines; the descriptor stays open."""
        self._lines.clear()
        self._bytes = 0
        self._unlock()

    def _queue(self, lines: list[bytes]) -> Loss | None:
        for number, line in enumerate(lines):
            if self._bytes + len(line) > self._limit and self._lines:
                return Loss(len(lines) - number, BLOCKED)
            self._lines.append(line)
            self._bytes += len(line)
        return None

    def _write_while_there_is_room(self) -> None:
        while self._lines and self._lock() and self._has_room():
            piece = self._piece()
            try:
                written = os.write(self._descriptor, piece)
            except BlockingIOError:
                return
            self._take(written)
        if not self._torn:
            self._unlock()

    def _piece(self) -> bytes:
        """Return whole lines as long as they stay whole, or the next piece of one that is longer."""
        largest = _LARGE_PIECE if self._kind == stat.S_IFREG else _PIECE
        lines: list[bytes] = []
        size = 0
        for line in self._lines:
            size += len(line)
            if size > largest and lines:
                break
            lines.append(line)
        return b"".join(lines)[:largest]

    def _take(self, written: int) -> None:
        """Let go of what was written; of a line that went only in part the rest stays."""
        self._bytes -= written
        while self._lines and written >= len(self._lines[0]):
            written -= len(self._lines.popleft())
            self._torn = False
        if written:
            self._lines[0] = self._lines[0][written:]
            self._torn = True

    def _has_room(self) -> bool:
        if self._kind == stat.S_IFREG:
            return True
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(0))

    def _lock(self) -> bool:
        """Lock a shared pipe; return whether the lock is held."""
        if self._kind != stat.S_IFIFO or self._locked:
            return True
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return False
        except OSError:
            return True  # a pipe that keeps no locks: short lines stay whole all the same
        self._locked = True
        return True

    def _unlock(self) -> None:
        if self._locked:
            self._locked = False
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN)
