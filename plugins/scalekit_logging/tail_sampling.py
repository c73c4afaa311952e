"""Tail sampling: buffer lines below the level until the outcome of their request is known."""

from __future__ import annotations

from collections import deque
from contextvars import ContextVar
from threading import Lock
from typing import Final


class TailSampler:
    """Creates the buffers of requests: at most *max_lines* each, and *max_bytes* for all of them together."""

    def __init__(self, max_lines: int, max_bytes: int, slow_threshold: float) -> None:
        self.max_lines: Final = max_lines
        self.max_bytes: Final = max_bytes
        self.slow_threshold: Final = slow_threshold
        self.used_bytes = 0
        self.lock = Lock()

    def create_buffer(self) -> TailBuffer:
        """Return the empty buffer of a new request."""
        return TailBuffer(self)


class TailBuffer:
    """Buffered lines of one request."""

    __slots__ = ("_dropped", "_lines", "_open", "_sampler")

    def __init__(self, sampler: TailSampler) -> None:
        self._sampler = sampler
        self._lines: deque[bytes] = deque()
        self._dropped = 0
        self._open = True

    def append(self, line: bytes) -> None:
        """Buffer *line*; the oldest lines are dropped when a bound is exceeded."""
        sampler = self._sampler
        with sampler.lock:
            if not self._open:  # a task of the request is still running after the response
                return
            self._lines.append(line)
            sampler.used_bytes += len(line)
            while self._lines and (len(self._lines) > sampler.max_lines or sampler.used_bytes > sampler.max_bytes):
                sampler.used_bytes -= len(self._lines.popleft())
                self._dropped += 1

    def close(self) -> tuple[list[bytes], int]:
        """Return the lines and the number of dropped lines; later lines are ignored."""
        with self._sampler.lock:
            self._open = False
            lines = list(self._lines)
            self._lines.clear()
            self._sampler.used_bytes -= sum(map(len, lines))
        return lines, self._dropped


CURRENT: ContextVar[TailBuffer | None] = ContextVar("scalekit_logging.tail_sampling", default=None)
"""The buffer of the current request."""
