"""Prometheus metrics of the log."""

from __future__ import annotations

from scalekit.telemetry import Alert, Counter, Telemetry
from scalekit_logging.levels import NAMES

LINES = Counter("scalekit_logging_lines", "Log lines by level.", ("level",))
LOST = Counter(
    "scalekit_logging_lost_lines",
    "Log lines lost, by sink and reason.",
    ("sink", "reason"),
    alert=Alert(
        "Log lines are lost.",
        "The output of the log is too slow or fails, and its buffer is full: requests do not wait for it. Is the"
        " disk full, or the reader of the output blocked? Else raise the level of the loggers that write most.",
    ),
)


class LoggingMetrics:
    """Counts the log lines of one application."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._lines = {name: telemetry.series(LINES, name) for name in NAMES.values()}

    def count_written(self, level: str, lines: int) -> None:
        """Count written lines of *level*."""
        self._lines[level].inc(lines)

    def count_lost(self, sink: str, reason: str, lines: int) -> None:
        """Count lines that *sink* lost."""
        self._telemetry.series(LOST, sink, reason).inc(lines)
