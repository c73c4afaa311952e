"""One line of numbers: what is recorded under one combination of label values.

Recording is two or three bytecodes on plain attributes, without a lock: under the GIL no other thread gets in between.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any


class CounterSeries:
    """A number that only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def inc(self, amount: float = 1) -> None:
        """Add *amount*, which must not be negative."""
        self.value += amount

    def data(self) -> Any:
        """Return the number."""
        return self.value


class GaugeSeries:
    """A number that goes up and down."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def set(self, value: float) -> None:
        """Replace the number."""
        self.value = value

    def inc(self, amount: float = 1) -> None:
        """Add *amount*."""
        self.value += amount

    def dec(self, amount: float = 1) -> None:
        """Take *amount* away."""
        self.value -= amount

    def data(self) -> Any:
        """Return the number."""
        return self.value


class HistogramSeries:
    """How many observations fell below each bound, and their sum."""

    __slots__ = ("bounds", "counts", "exemplars", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum: float = 0
        self.exemplars: dict[str, list[Any]] = {}

    def observe(self, value: float) -> None:
        """Count *value*."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def observe_traced(self, value: float, trace_id: str) -> None:
        """Count *value* and remember *trace_id* as the latest example of its bucket."""
        bucket = bisect_left(self.bounds, value)
        self.counts[bucket] += 1
        self.sum += value
        self.exemplars[str(bucket)] = [trace_id, value, time.time()]

    def data(self) -> Any:
        """Return the sum, the count of each bucket by itself, and the examples by bucket."""
        return [self.sum, self.counts.copy(), self.exemplars.copy()]


class NoCounter(CounterSeries):
    """Records nothing."""

    __slots__ = ()

    def inc(self, amount: float = 1) -> None:
        """Do nothing."""


class NoGauge(GaugeSeries):
    """Records nothing."""

    __slots__ = ()

    def set(self, value: float) -> None:
        """Do nothing."""

    def inc(self, amount: float = 1) -> None:
        """Do nothing."""

    def dec(self, amount: float = 1) -> None:
        """Do nothing."""


class NoHistogram(HistogramSeries):
    """Records nothing."""

    __slots__ = ()

    def observe(self, value: float) -> None:
        """Do nothing."""

    def observe_traced(self, value: float, trace_id: str) -> None:
        """Do nothing."""
