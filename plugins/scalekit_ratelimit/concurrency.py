"""Find out how many requests may be in flight, from how long they take.

The gradient is that of Netflix's concurrency-limits: the latency without load over the latency now, with room for a
queue of the limit's square root. AIMD is TCP's: one more for each limit's worth that was fast enough, a tenth less when
one was not.
"""

from __future__ import annotations

from math import sqrt
from typing import Protocol

SMOOTHING = 0.2
FOLLOWING = 0.05
"""Share by which the latency without load gives way to one that is measured and longer."""
WINDOW = 20
"""Requests whose latencies are looked at together."""
LOWERING = 0.9


class Rule(Protocol):
    """Changes a limit."""

    def after(self, limit: float, latency: float, in_flight: int) -> float:
        """Return the limit that follows *limit* when requests took *latency* with so many *in_flight*."""
        ...


class Gradient:
    """Lowers the limit where latency is more than *tolerance* times what it is without load.

    That is measured where half of the limit is not used, and at the *least* limit, so that it follows a service that
    has become slower; under load it would follow the queue.
    """

    def __init__(self, tolerance: float, least: int) -> None:
        self._tolerance = tolerance
        self._least = least
        self._unloaded = 0.0

    def after(self, limit: float, latency: float, in_flight: int) -> float:
        """Return the next limit."""
        unused = in_flight < limit / 2
        if not self._unloaded or latency < self._unloaded:
            self._unloaded = latency
        elif unused or limit <= self._least:
            self._unloaded += (latency - self._unloaded) * FOLLOWING
        if unused:
            return limit
        gradient = min(1.0, self._tolerance * self._unloaded / latency) if latency else 1.0
        aim = limit + sqrt(limit) if gradient == 1.0 else limit * max(0.5, gradient)
        return limit + (aim - limit) * SMOOTHING


class Aimd:
    """Lowers the limit where latency is above *target* seconds."""

    def __init__(self, target: float) -> None:
        self._target = target

    def after(self, limit: float, latency: float, in_flight: int) -> float:
        """Return the next limit."""
        if latency > self._target:
            return limit * LOWERING
        return limit + 1 if in_flight >= limit / 2 else limit


SHARES = {"low": 0.7, "normal": 0.9, "high": 1.0}
"""The share of the limit up to which a priority is let in."""


class Concurrency:
    """Counts requests in flight, *initial* at most and between *least* and *most* as *rule* finds."""

    def __init__(self, rule: Rule, initial: int, least: int, most: int) -> None:
        self._rule = rule
        self._least = least
        self._most = most
        self._limit = float(initial)
        self._sum = 0.0
        self._number = 0
        self._peak = 0
        self.in_flight = 0

    @property
    def limit(self) -> int:
        """How many may be in flight."""
        return int(self._limit)

    def enter(self, priority: str) -> bool:
        """Let one in, or tell that there are too many."""
        if self.in_flight >= max(1.0, self._limit * SHARES[priority]):
            return False
        self.in_flight += 1
        if self.in_flight > self._peak:
            self._peak = self.in_flight
        return True

    def leave(self, seconds: float | None) -> None:
        """Note that one has left after *seconds*; None for one whose time says nothing."""
        self.in_flight -= 1
        if seconds is None:
            return
        self._sum += seconds
        self._number += 1
        if self._number >= WINDOW:
            latency, peak = self._sum / self._number, self._peak
            self._sum, self._number, self._peak = 0.0, 0, self.in_flight
            after = self._rule.after(self._limit, latency, peak)
            self._limit = max(float(self._least), min(float(self._most), after))
