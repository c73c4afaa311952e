"""Where lines go, and the account of those that did not get there."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple, Protocol

from scalekit_logging.json_formatter import JsonFormatter
from scalekit_logging.levels import WARNING

LOGGER = "scalekit.logging"
BUFFER = "buffer"
"""The outlet to which lines are lost that nothing had room for."""
ERRORS = b"ec"
"""The first letters of the levels that are errors."""

CountLost = Callable[[str, str, int], None]


class Loss(NamedTuple):
    """How many lines were lost, and why."""

    lines: int
    reason: str


class Sink(Protocol):
    """Something that lines are written to, in a thread of the writer's."""

    name: str

    def open(self) -> None:
        """Make ready; raises OSError when that cannot be."""
        ...

    def write(self, text: bytes) -> Loss | None:
        """Write the lines of *text*, or return how many of these and earlier ones are lost.

        An empty one goes on with what waits.
        """
        ...

    def waiting(self) -> int:
        """Return how many lines wait until they can be written."""
        ...

    def close(self) -> None:
        """Let go of what was opened."""
        ...


class MonitoredSink:
    """A sink, what it lost, and whether it says so; *errors_only* tells whoever writes which lines it is for."""

    def __init__(self, sink: Sink, lines: JsonFormatter, errors_only: bool = False) -> None:
        self.sink = sink
        self.errors_only = errors_only
        self.trouble = ""
        self._lines = lines
        self._owed = 0
        self._reason = ""

    def write(self, text: bytes, count: CountLost) -> None:
        """Write the lines of *text*; once that works again, say in a line how many were lost meanwhile."""
        if text or self.sink.waiting():
            loss = self._try(text)
            if loss is not None:
                self.lose(loss, count)
                return
        if self.trouble and not self.sink.waiting():
            self._report()

    def lose(self, loss: Loss, count: CountLost | None = None) -> None:
        """Note lines that did not get here."""
        self._owed += loss.lines
        self._reason = loss.reason
        self.trouble = f"{self.sink.name}: {loss.reason}"
        if count is not None:
            count(self.sink.name, loss.reason, loss.lines)

    def _report(self) -> None:
        fields = {"lost_lines": self._owed, "outlet": self.sink.name, "reason": self._reason}
        line = self._lines.line(WARNING, LOGGER, f"{self._owed} log lines were lost", fields, None)
        if self._try(line) is None:
            self._owed = 0
            self.trouble = ""

    def _try(self, text: bytes) -> Loss | None:
        try:
            return self.sink.write(text)
        except Exception as error:  # costs these lines, not the thread that writes all others
            return Loss(count_lines(text), type(error).__name__)


def count_lines(text: bytes) -> int:
    """Return how many lines *text* has, each of which ends with a line feed and holds no other."""
    return text.count(b"\n")


def reason_of(error: OSError) -> str:
    """Return in a few words why *error* happened."""
    return os.strerror(error.errno).lower() if error.errno else type(error).__name__
