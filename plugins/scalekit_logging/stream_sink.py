"""Sink for a stream that other processes may write to as well, such as standard error.

It may be a pipe whose reader has stalled, so lines are written only when the pipe has room, and pending lines are
bounded. Writes to a shared pipe are atomic only up to PIPE_BUF bytes, so processes lock the pipe (``lockf``).
"""

from __future__ import annotations

import os
import select
import stat
import sys
from collections import deque

if sys.platform != "win32":
    import fcntl

from scalekit_logging.console_formatter import LineFormat
from scalekit_logging.sinks import Loss, reason_of

BLOCKED = "reader stalled"
_PIPE_CHUNK = getattr(select, "PIPE_BUF", 512)  # the minimum of POSIX, for platforms that do not say
_FILE_CHUNK = 1 << 20


class StreamSink:
    """Writes lines, formatted by *format_lines*, to the open *descriptor*; at most *max_pending* bytes wait."""

    def __init__(self, name: str, descriptor: int, format_lines: LineFormat, max_pending: int) -> None:
        self.name = name
        self._descriptor = descriptor
        self._format = format_lines
        self._max_pending = max_pending
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._partial = False
        self._locked = False
        self._kind = 0

    def open(self) -> None:
        """Determine the kind of the stream."""
        try:
            self._kind = stat.S_IFMT(os.fstat(self._descriptor).st_mode)
        except OSError:
            self._kind = 0  # not open: write reports it

    def write(self, text: bytes) -> Loss | None:
        """Write pending lines and those of *text*, as far as the stream accepts them without blocking."""
        loss = self._queue(self._format(text.splitlines(keepends=True))) if text else None
        try:
            self._write_available()
        except OSError as error:
            lost = len(self._lines)
            self._lines.clear()
            self._bytes = 0
            self._unlock()
            return Loss(lost + (loss.lines if loss else 0), reason_of(error))
        return loss

    def pending(self) -> int:
        """Return the number of pending lines."""
        return len(self._lines)

    def close(self) -> None:
        """Drop pending lines; the descriptor stays open."""
        self._lines.clear()
        self._bytes = 0
        self._unlock()

    def _queue(self, lines: list[bytes]) -> Loss | None:
        for number, line in enumerate(lines):
            if self._bytes + len(line) > self._max_pending and self._lines:
                return Loss(len(lines) - number, BLOCKED)
            self._lines.append(line)
            self._bytes += len(line)
        return None

    def _write_available(self) -> None:
        while self._lines and self._lock() and self._has_room():
            chunk = self._next_chunk()
            try:
                written = os.write(self._descriptor, chunk)
            except BlockingIOError:
                return
            self._remove_written(written)
        if not self._partial:
            self._unlock()

    def _next_chunk(self) -> bytes:
        """Return as many complete lines as one chunk may hold, or the next part of a longer line."""
        largest = _FILE_CHUNK if self._kind == stat.S_IFREG else _PIPE_CHUNK
        lines: list[bytes] = []
        size = 0
        for line in self._lines:
            size += len(line)
            if size > largest and lines:
                break
            lines.append(line)
        return b"".join(lines)[:largest]

    def _remove_written(self, written: int) -> None:
        """Remove the written bytes from the pending lines; the rest of a partial line stays."""
        self._bytes -= written
        while self._lines and written >= len(self._lines[0]):
            written -= len(self._lines.popleft())
            self._partial = False
        if written:
            self._lines[0] = self._lines[0][written:]
            self._partial = True

    def _has_room(self) -> bool:
        if self._kind == stat.S_IFREG or sys.platform == "win32":
            return True
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(0))

    def _lock(self) -> bool:
        """Lock a shared pipe; return whether the lock is held."""
        if self._kind != stat.S_IFIFO or self._locked or sys.platform == "win32":
            return True
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return False
        except OSError:
            return True  # the pipe does not support locks; short lines are atomic anyway
        self._locked = True
        return True

    def _unlock(self) -> None:
        if self._locked and sys.platform != "win32":
            self._locked = False
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN)
