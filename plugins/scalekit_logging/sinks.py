"""Destinations of lines, and the accounting of lines that they lose."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple, Protocol

from scalekit_logging.json_formatter import JsonFormatter
from scalekit_logging.levels import WARNING

LOGGER = "scalekit.logging"
BUFFER = "buffer"
"""Sink name of lines that are lost because the buffer is full."""
ERROR_LETTERS = b"ec"
"""First letters of the levels error and critical."""

CountLost = Callable[[str, str, int], None]


class Loss(NamedTuple):
    """Number of lost lines, and the reason."""

    lines: int
    reason: str


class Sink(Protocol):
    """Destination of lines; only the writer thread uses it."""

    name: str

    def open(self) -> None:
        """Open the destination; raises OSError."""
        ...

    def write(self, text: bytes) -> Loss | None:
        """Write the lines of *text*; return the lost lines, pending ones included, or None when none are lost.

        An empty *text* retries pending lines.
        """
        ...

    def pending(self) -> int:
        """Return the number of pending lines."""
        ...

    def close(self) -> None:
        """Close the destination."""
        ...


class MonitoredSink:
    """A sink that counts and reports its lost lines; with *errors_only*, it receives only level error and above."""

    def __init__(self, sink: Sink, formatter: JsonFormatter, errors_only: bool = False) -> None:
        self.sink = sink
        self.errors_only = errors_only
        self.error = ""
        self._formatter = formatter
        self._unreported = 0
        self._reason = ""

    def write(self, text: bytes, count: CountLost) -> None:
        """Write the lines of *text*; after a recovery, write a line with the number of lost lines."""
        if text or self.sink.pending():
            loss = self._write_safely(text)
            if loss is not None:
                self.record_loss(loss, count)
                return
        if self.error and not self.sink.pending():
            self._report_loss()

    def record_loss(self, loss: Loss, count: CountLost | None = None) -> None:
        """Record lost lines."""
        self._unreported += loss.lines
        self._reason = loss.reason
        self.error = f"{self.sink.name}: {loss.reason}"
        if count is not None:
            count(self.sink.name, loss.reason, loss.lines)

    def _report_loss(self) -> None:
        fields = {"lost_lines": self._unreported, "sink": self.sink.name, "reason": self._reason}
        line = self._formatter.format(WARNING, LOGGER, f"{self._unreported} log lines were lost", fields, None)
        if self._write_safely(line) is None:
            self._unreported = 0
            self.error = ""

    def _write_safely(self, text: bytes) -> Loss | None:
        try:
            return self.sink.write(text)
        except Exception as error:  # these lines are lost; the thread must not end
            return Loss(count_lines(text), type(error).__name__)


def count_lines(text: bytes) -> int:
    """Return the number of lines of *text*, which ends with a line feed."""
    return text.count(b"\n")


def reason_of(error: OSError) -> str:
    """Return the reason of *error* as a short label value."""
    return os.strerror(error.errno).lower() if error.errno else type(error).__name__
