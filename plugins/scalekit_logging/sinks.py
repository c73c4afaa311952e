"""Sinks that lines are written to, and the count of lines that they lose."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple, Protocol

from scalekit_logging.json_formatter import JsonFormatter
from scalekit_logging.levels import WARNING

LOGGER = "scalekit.logging"
BUFFER = "buffer"
"""Sink name of lines that are lost because the buffer is full."""
ERRORS = b"ec"
"""The first letters of the levels that are errors."""

CountLost = Callable[[str, str, int], None]


class Loss(NamedTuple):
    """Number of lost lines, and the reason."""

    lines: int
    reason: str


class Sink(Protocol):
    """Destination of lines, used by the thread of the writer."""

    name: str

    def open(self) -> None:
        """Open the destination; raises OSError."""
        ...

    def write(self, text: bytes) -> Loss | None:
        """Write the lines of *text*; return the loss of these and earlier ones, or None.

        An empty *text* retries pending lines.
        """
        ...

    def waiting(self) -> int:
        """Return the number of pending lines."""
        ...

    def close(self) -> None:
        """Close the destination."""
        ...


class MonitoredSink:
    """A sink with a count of the lines that it lost; with *errors_only* it gets lines of level error and above."""

    def __init__(self, sink: Sink, lines: JsonFormatter, errors_only: bool = False) -> None:
        self.sink = sink
        self.errors_only = errors_only
        self.error = ""
        self._lines = lines
        self._unreported = 0
        self._reason = ""

    def write(self, text: bytes, count: CountLost) -> None:
        """Write the lines of *text*; after a recovery, write a line with the number of lost lines."""
        if text or self.sink.waiting():
            loss = self._try(text)
            if loss is not None:
                self.lose(loss, count)
                return
        if self.error and not self.sink.waiting():
            self._report()

    def lose(self, loss: Loss, count: CountLost | None = None) -> None:
        """Record lost lines."""
        self._unreported += loss.lines
        self._reason = loss.reason
        self.error = f"{self.sink.name}: {loss.reason}"
        if count is not None:
            count(self.sink.name, loss.reason, loss.lines)

    def _report(self) -> None:
        fields = {"lost_lines": self._unreported, "sink": self.sink.name, "reason": self._reason}
        line = self._lines.line(WARNING, LOGGER, f"{self._unreported} log lines were lost", fields, None)
        if self._try(line) is None:
            self._unreported = 0
            self.error = ""

    def _try(self, text: bytes) -> Loss | None:
        try:
            return self.sink.write(text)
        except Exception as error:  # loses these lines, the thread goes on
            return Loss(count_lines(text), type(error).__name__)


def count_lines(text: bytes) -> int:
    """Return how many lines *text* has, each of which ends with a line feed and holds no other."""
    return text.count(b"\n")


def reason_of(error: OSError) -> str:
    """Return the reason of *error* as a short label value."""
    return os.strerror(error.errno).lower() if error.errno else type(error).__name__
