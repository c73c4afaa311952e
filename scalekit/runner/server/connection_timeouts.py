"""The deadlines of one connection on one timer.

A timer of the loop is dear, and nearly every deadline of a connection is dropped or prolonged long before it comes. So
to start and to stop one only writes down a time; the timer looks when it fires, and goes on to the next of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

NEVER = float("inf")
EARLY = 0.001
"""Seconds by which a timer may fire too soon: loops count in milliseconds."""


class ConnectionTimer:
    """What a connection has one of, whatever its deadlines are."""

    __slots__ = ("_deadlines", "_handle", "_loop", "due")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._deadlines: list[tuple[ConnectionTimeout, Callable[[], None]]] = []
        self._handle: asyncio.TimerHandle | None = None
        self.due = NEVER

    def deadline(self, seconds: float, passed: Callable[[], None]) -> ConnectionTimeout:
        """Return a new deadline of *seconds*, not started, at whose end *passed* is called."""
        deadline = ConnectionTimeout(self, seconds)
        self._deadlines.append((deadline, passed))
        return deadline

    def fire_at(self, at: float) -> None:
        """Fire at *at*, and no more when it would have."""
        if self._handle is not None:
            self._handle.cancel()
        self.due = at
        self._handle = self._loop.call_later(at - monotonic(), self._fire)

    def end(self) -> None:
        """Forget every deadline, for good."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._deadlines.clear()

    def _fire(self) -> None:
        self._handle = None
        self.due = NEVER
        now = monotonic() + EARLY
        for deadline, passed in self._deadlines.copy():
            if deadline.at <= now:
                deadline.stop()
                passed()
        following = min((deadline.at for deadline, _ in self._deadlines), default=NEVER)
        if following < self.due:
            self.fire_at(following)


class ConnectionTimeout:
    """A span of time at whose end something is done, unless it is stopped or started anew before."""

    __slots__ = ("_seconds", "_timer", "at")

    def __init__(self, timer: ConnectionTimer, seconds: float) -> None:
        self._timer = timer
        self._seconds = seconds
        self.at = NEVER

    def start(self) -> None:
        """Let the time begin now."""
        self.at = at = monotonic() + self._seconds
        if at < self._timer.due:
            self._timer.fire_at(at)

    def stop(self) -> None:
        """Let it not come; that it is not running is no mistake."""
        self.at = NEVER

    def runs(self) -> bool:
        """Tell whether it will come."""
        return self.at is not NEVER
