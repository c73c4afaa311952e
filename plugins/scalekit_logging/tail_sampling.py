"""Keep what is logged below the level while a request is served, until it is known whether anybody wants to read it."""

from __future__ import annotations

from collections import deque
from contextvars import ContextVar
from threading import Lock
from typing import Final


class TailSampler:
    """Makes the tails of one application: each of *lines* at most, together of *memory* bytes."""

    def __init__(self, lines: int, memory: int, slow: float) -> None:
        self.lines: Final = lines
        self.memory: Final = memory
        self.slow: Final = slow
        self.used = 0
        self.lock = Lock()

    def open(self) -> TailBuffer:
        """Return the empty tail of a new request."""
        return TailBuffer(self)


class TailBuffer:
    """The lines of one request that are kept."""

    __slots__ = ("_forgotten", "_lines", "_open", "_tails")

    def __init__(self, tails: TailSampler) -> None:
        self._tails = tails
        self._lines: deque[bytes] = deque()
        self._forgotten = 0
        self._open = True

    def keep(self, line: bytes) -> None:
        """Keep *line*; the oldest ones make room for it."""
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
        """Return the lines and how many were forgotten; from now on nothing is kept."""
        with self._tails.lock:
            self._open = False
            lines = list(self._lines)
            self._lines.clear()
            self._tails.used -= sum(map(len, lines))
        return lines, self._forgotten


CURRENT: ContextVar[TailBuffer | None] = ContextVar("scalekit_logging.tail_sampling", default=None)
"""The tail of the request that is being served here and now."""
