"""One timer for the deadlines of many calls.

A timer of the loop for each call would cost more than the call. So a call only says when its time is over; the timer
looks at those that still wait when the earliest of them has come, and at most every few milliseconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

NEVER = float("inf")
COARSENESS = 0.005
"""Seconds between two looks, and so by which a deadline may come late."""


STALL = 0.05
"""Seconds late at which the loop itself must have been held up."""


class DeadlineTimer:
    """Calls *look*, which returns when it is to be called next, as soon as *due* has come.

    When the loop was held up, it turns once more first: the replies may have come long ago, and nobody has read them.
    """

    __slots__ = ("_handle", "_look", "_loop", "_stalled", "due")

    def __init__(self, look: Callable[[float], float]) -> None:
        self._loop = asyncio.get_running_loop()
        self._look = look
        self._handle: asyncio.TimerHandle | None = None
        self._stalled = False
        self.due = NEVER

    def look_at(self, at: float) -> None:
        """Look at *at*, and no more when it would have."""
        self.stop()
        self.due = at
        self._handle = self._loop.call_later(max(at - monotonic(), COARSENESS), self._fire)

    def stop(self) -> None:
        """Look no more."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self.due = NEVER

    def _fire(self) -> None:
        self._handle = None
        now = monotonic()
        self._stalled = not self._stalled and now - self.due > STALL
        if self._stalled:
            self.look_at(self.due)
            return
        self.due = NEVER
        following = self._look(now)
        if following < self.due:
            self.look_at(following)
