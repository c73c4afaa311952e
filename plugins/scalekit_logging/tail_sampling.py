"""Tail sampling: buffer lines below the level until the outcome of their request is known."""

from __future__ import annotations

from collections import deque
from contextvars import ContextVar
from threading import Lock
from typing import Final


class TailSampler:
    """Creates the buffers of requests: at most *lines* each, and *memory* bytes in all."""

    def __init__(self, lines: int, memory: int, slow_threshold: float) -> None:
        self.lines: Final = lines
        self.memory: Final = memory
        self.slow_threshold: Final = slow_threshold
        self.used = 0
        self.lock = Lock()

    def open(self) -> TailBuffer:
        """Return the empty buffer of a new request."""
        return TailBuffer(self)


class TailBuffer:
    """Buffered lines of one request."""

    __slots__ = ("_forgotten", "_lines", "_open", "_tails")

    def __init__(self, tails: TailSampler) -> None:
        self._tails = tails
        self._lines: deque[bytes] = deque()
        self._forgotten = 0
        self._open = True

    def keep(self, line: bytes) -> None:
        """Buffer *line*; the oldest ones are dropped when a bound is exceeded."""
        tails = self._tails
        with tails.lock:
            if not self._open:  # a task that outlives its request
                return
            self._lines.append(line)
            tails.used += len(line)
            while self._lines and (len(self._lines) > tails.lines or tails.used > tails.memory):
                tails.used -= len(self._lines.popleft())
                self._forgotten += 1

    def close(self) -> tuple[list[bytes], int]:
        """Return the lines and the number of dropped ones; later lines are ignored."""
        with self._tails.lock:
            self._open = False
            lines = list(self._lines)
            self._lines.clear()
            self._tails.used -= sum(map(len, lines))
        return lines, self._forgotten


CURRENT: ContextVar[TailBuffer | None] = ContextVar("scalekit_logging.tail_sampling", default=None)
"""The buffer of the current request."""
