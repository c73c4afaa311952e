"""Series: the values of a metric for one combination of label values.

Recording changes plain attributes in two or three bytecodes without a lock; under the GIL no other thread interrupts.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any


class CounterSeries:
    """A number that only increases."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def inc(self, amount: float = 1) -> None:
        """Add *amount*, which must not be negative."""
        self.value += amount

    def data(self) -> float:
        """Return the number."""
        return self.value


class GaugeSeries:
    """A number that increases and decreases."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def set(self, value: float) -> None:
        """Set the number to *value*."""
        self.value = value

    def inc(self, amount: float = 1) -> None:
        """Add *amount*."""
        self.value += amount

    def dec(self, amount: float = 1) -> None:
        """Subtract *amount*."""
        self.value -= amount

    def data(self) -> float:
        """Return the number."""
        return self.value


class HistogramSeries:
    """The number of observations per bucket, and their sum."""

    __slots__ = ("bounds", "counts", "exemplars", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum: float = 0
        self.exemplars: dict[str, list[Any]] = {}

    def observe(self, value: float) -> None:
        """Add the observation *value*."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def observe_traced(self, value: float, trace_id: str) -> None:
        """Add the observation *value* and store *trace_id* as the exemplar of its bucket."""
        bucket = bisect_left(self.bounds, value)
        self.counts[bucket] += 1
        self.sum += value
        self.exemplars[str(bucket)] = [trace_id, value, time.time()]

    def data(self) -> Any:
        """Return the sum, the count of each bucket (not cumulative), and the exemplars by bucket."""
        return [self.sum, self.counts.copy(), self.exemplars.copy()]


class NoCounter(CounterSeries):
    """A counter that records nothing."""

    __slots__ = ()

    def inc(self, amount: float = 1) -> None:
        """Do nothing."""


class NoGauge(GaugeSeries):
    """A gauge that records nothing."""

    __slots__ = ()

    def set(self, value: float) -> None:
        """Do nothing."""

    def inc(self, amount: float = 1) -> None:
        """Do nothing."""

    def dec(self, amount: float = 1) -> None:
        """Do nothing."""


class NoHistogram(HistogramSeries):
    """A histogram that records nothing."""

    __slots__ = ()

    def observe(self, value: float) -> None:
        """Do nothing."""

    def observe_traced(self, value: float, trace_id: str) -> None:
        """Do nothing."""
