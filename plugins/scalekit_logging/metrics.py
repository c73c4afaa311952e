"""What is counted."""

from __future__ import annotations

from scalekit.telemetry import Alert, Counter, Telemetry
from scalekit_logging.levels import NAMES

LINES = Counter("scalekit_logging_lines", "Lines that were logged.", ("level",))
LOST = Counter(
    "scalekit_logging_lost_lines",
    "Lines that did not get to an outlet.",
    ("outlet", "reason"),
    alert=Alert("Log lines are lost."),
)


class LoggingMetrics:
    """The numbers of one application."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._lines = {name: telemetry.series(LINES, name) for name in NAMES.values()}

    def written(self, level: str, lines: int) -> None:
        """Count lines of *level*."""
        self._lines[level].inc(lines)

    def lost(self, outlet: str, reason: str, lines: int) -> None:
        """Count lines that *outlet* did not get."""
        self._telemetry.series(LOST, outlet, reason).inc(lines)
