"""Find out how many requests may be in flight, from how long they take.

The gradient is that of Netflix's concurrency-limits: the latency without load over the latency now, with room for a
queue of the limit's square root, here the less of it the less latency may still grow. To measure the former at a low
limit, now and then, is what Envoy does. AIMD is TCP's: one more for each limit's worth that was fast enough, a tenth
less when one was not.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Protocol

SMOOTHING = 0.2
FOLLOWING = 0.1
"""Share by which the latency without load gives way to what is measured."""
PROBING = 500
"""Windows under load after which it is looked for what latency would be without."""
WINDOW = 20
"""Requests whose latencies are looked at together."""
LOWERING = 0.9


class LimitAlgorithm(Protocol):
    """Changes a limit."""

    def after(self, limit: float, latency: float, in_flight: int) -> float:
        """Return the limit that follows *limit* when requests took *latency* with so many *in_flight*."""
        ...


class GradientAlgorithm:
    """Lowers the limit where latency is more than *tolerance* times what it is without load.

    That is measured where half of the limit is not used, and at the *least* limit. A service that is never without load
    is brought there now and then, for a moment: under load the queue would be measured.
    """

    def __init__(self, tolerance: float, least: int) -> None:
        self._tolerance = tolerance
        self._least = least
        self._unloaded = 0.0
        self._under_load = 0
        self._probe: LatencyProbe | None = None

    def after(self, limit: float, latency: float, in_flight: int) -> float:
        """Return the next limit."""
        if self._probe is not None:
            return self._probed(self._probe, latency, in_flight)
        unused = in_flight < limit / 2
        if unused or limit <= self._least or latency < self._unloaded:
            self._follow(latency)
        self._under_load = 0 if unused else self._under_load + 1
        if unused:
            return limit
        if not self._unloaded or self._under_load >= PROBING:
            self._probe = LatencyProbe(limit)
            return float(self._least)
        gradient = self._tolerance * self._unloaded / latency if latency else 2.0
        aim = limit * max(0.5, gradient) if gradient < 1.0 else limit + sqrt(limit) * min(1.0, gradient - 1.0)
        return limit + (aim - limit) * SMOOTHING

    def _follow(self, latency: float) -> None:
        self._unloaded += (latency - self._unloaded) * (FOLLOWING if self._unloaded else 1.0)

    def _probed(self, probe: LatencyProbe, latency: float, in_flight: int) -> float:
        """Wait until those have left who came under load, and measure those who came after them."""
        probe.drained += in_flight <= self._least
        if probe.drained < 2:
            return float(self._least)
        self._unloaded, self._under_load, self._probe = latency, 0, None
        return probe.limit


@dataclass(slots=True)
class LatencyProbe:
    """A look at the latency without load, after which *limit* is what it was; *drained* windows began without it."""

    limit: float
    drained: int = 0


class AimdAlgorithm:
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


class AdaptiveConcurrency:
    """Counts requests in flight, *initial* at most and between *least* and *most* as *rule* finds."""

    def __init__(self, rule: LimitAlgorithm, initial: int, least: int, most: int) -> None:
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
