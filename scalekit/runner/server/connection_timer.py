"""Run all timeouts of one connection on one timer of the event loop.

A timer of the loop is expensive, and nearly every timeout is stopped or restarted long before it expires. So starting
and stopping one only stores a deadline; when the timer fires, it checks all deadlines and is set to the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

NEVER = float("inf")
EARLY = 0.001
"""Seconds by which a timer may fire early: event loops round to milliseconds."""


class ConnectionTimer:
    """The timer of a connection, for any number of timeouts."""

    __slots__ = ("_handle", "_loop", "_timeouts", "due")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timeouts: list[tuple[ConnectionTimeout, Callable[[], None]]] = []
        self._handle: asyncio.TimerHandle | None = None
        self.due = NEVER

    def timeout(self, seconds: float, on_timeout: Callable[[], None]) -> ConnectionTimeout:
        """Return a timeout of *seconds*, not started, that calls *on_timeout* when it expires."""
        timeout = ConnectionTimeout(self, seconds)
        self._timeouts.append((timeout, on_timeout))
        return timeout

    def fire_at(self, at: float) -> None:
        """Set the timer to *at*, instead of its previous time."""
        if self._handle is not None:
            self._handle.cancel()
        self.due = at
        self._handle = self._loop.call_later(at - monotonic(), self._fire)

    def end(self) -> None:
        """Stop the timer and drop every timeout."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._timeouts.clear()

    def _fire(self) -> None:
        self._handle = None
        self.due = NEVER
        now = monotonic() + EARLY
        for timeout, on_timeout in self._timeouts.copy():
            if timeout.deadline <= now:
                timeout.stop()
                on_timeout()
        following = min((timeout.deadline for timeout, _ in self._timeouts), default=NEVER)
        if following < self.due:
            self.fire_at(following)


class ConnectionTimeout:
    """A timeout that can be started, stopped and restarted cheaply."""

    __slots__ = ("_seconds", "_timer", "deadline")

    def __init__(self, timer: ConnectionTimer, seconds: float) -> None:
        self._timer = timer
        self._seconds = seconds
        self.deadline = NEVER

    def start(self) -> None:
        """Start or restart the timeout now."""
        self.deadline = deadline = monotonic() + self._seconds
        if deadline < self._timer.due:
            self._timer.fire_at(deadline)

    def stop(self) -> None:
        """Stop the timeout, whether it runs or not."""
        self.deadline = NEVER

    def is_running(self) -> bool:
        """Return whether the timeout runs."""
        return self.deadline is not NEVER
