"""How long to wait before what crashes is started again."""

from __future__ import annotations

FIRST_DELAY = 0.5
LONGEST_DELAY = 30.0
LIVED = 10.0
"""Seconds after which a process that crashes is replaced at once, as the first is."""


class RestartBackoff:
    """Counts crashes in a row; the first is followed by a start at once, the next ones by later and later starts."""

    def __init__(self) -> None:
        self._crashes = 0

    def count_crash(self, lived: float) -> None:
        """Count the crash of a process that *lived* for so many seconds."""
        self._crashes = 0 if lived > LIVED else self._crashes + 1

    def count_failed_start(self) -> None:
        """Count a start that failed."""
        self._crashes += 1

    @property
    def delay(self) -> float:
        """Seconds until the next start."""
        return min(FIRST_DELAY * 2.0 ** (self._crashes - 2), LONGEST_DELAY) if self._crashes > 1 else 0.0
