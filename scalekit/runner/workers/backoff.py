"""Back off exponentially before a crashed worker or fork server is restarted."""

from __future__ import annotations

FIRST_DELAY = 0.5
MAX_DELAY = 30.0
MIN_UPTIME = 10.0
"""Seconds of uptime after which a crash counts as the first again, which is followed by an immediate restart."""


class RestartBackoff:
    """Counts consecutive crashes: restart at once after the first, then after 0.5 s, 1 s, 2 s, up to 30 s."""

    def __init__(self) -> None:
        self._crashes = 0

    def count_crash(self, uptime: float) -> None:
        """Count the crash of a process that ran for *uptime* seconds."""
        self._crashes = 0 if uptime > MIN_UPTIME else self._crashes + 1

    def count_failed_start(self) -> None:
        """Count a start that failed."""
        self._crashes += 1

    @property
    def delay(self) -> float:
        """Seconds until the next start."""
        return min(FIRST_DELAY * 2.0 ** (self._crashes - 2), MAX_DELAY) if self._crashes > 1 else 0.0
