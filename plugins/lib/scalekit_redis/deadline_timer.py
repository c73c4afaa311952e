"""One timer for the deadlines of many commands.

A timer of the event loop for each command would cost more than the command. So a command only stores its deadline; this
timer fires at the earliest deadline, at most every few milliseconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

NEVER = float("inf")
RESOLUTION = 0.005
"""Minimum seconds between two calls, which is the maximum delay of a timeout."""
STALL = 0.05
"""Lateness in seconds that shows that the event loop itself was blocked."""


class DeadlineTimer:
    """Calls *on_due*, which returns the time of the next call, at the time ``due``.

    After a block of the event loop it waits one more turn: replies may have arrived that are not read yet.
    """

    __slots__ = ("_handle", "_loop", "_on_due", "_stalled", "due")

    def __init__(self, on_due: Callable[[float], float]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_due = on_due
        self._handle: asyncio.TimerHandle | None = None
        self._stalled = False
        self.due = NEVER

    def schedule(self, deadline: float) -> None:
        """Fire at *deadline* instead of the time scheduled before."""
        self.stop()
        self.due = deadline
        self._handle = self._loop.call_later(max(deadline - monotonic(), RESOLUTION), self._fire)

    def stop(self) -> None:
        """Cancel the timer."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self.due = NEVER

    def _fire(self) -> None:
        self._handle = None
        now = monotonic()
        self._stalled = not self._stalled and now - self.due > STALL
        if self._stalled:
            self.schedule(self.due)
            return
        self.due = NEVER
        following = self._on_due(now)
        if following < self.due:
            self.schedule(following)
