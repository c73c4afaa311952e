"""PromQL queries of declared metrics.

A counter with labels is not there before something has been counted, so its rate is zero until then: that of every job
that shows how many requests are in flight, which is there from the start.
https://prometheus.io/docs/prometheus/latest/querying/operators/
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scalekit.telemetry import Counter, Gauge, Histogram, Instrument
from scalekit_metrics.metrics import IN_FLIGHT


@dataclass(frozen=True)
class SeriesSelector:
    """Which series to read, over which time, and what to keep apart besides the labels asked for."""

    matcher: str
    window: str
    apart: tuple[str, ...] = ()

    def by(self, labels: Sequence[str] = ()) -> str:
        """Return the clause that keeps *labels* apart."""
        return f"by ({', '.join([*self.apart, *labels])}) " if (*self.apart, *labels) else ""

    def of(self, name: str, matcher: str = "") -> str:
        """Return the selector of the series *name*."""
        matchers = ", ".join(each for each in (self.matcher, matcher) if each)
        return f"{name}{{{matchers}}}" if matchers else name

    def rate(self, counter: str, labels: Sequence[str] = (), matcher: str = "") -> str:
        """Return how often a second the series *counter* grows, zero where it is not there."""
        grown = f"sum {self.by(labels)}(rate({self.of(counter, matcher)}[{self.window}]))"
        nothing = f"0 * sum {self.by()}({self.of(IN_FLIGHT.name)})"
        return f"{grown} or on ({', '.join(self.apart)}) {nothing}"

    def quantile(self, histogram: str, quantile: float, labels: Sequence[str] = ()) -> str:
        """Return what a share *quantile* of the observations is below."""
        buckets = f"rate({self.of(f'{histogram}_bucket')}[{self.window}])"
        return f"histogram_quantile({quantile}, sum {self.by(['le', *labels])}({buckets}))"

    def gauge(self, gauge: Gauge) -> str:
        """Return the gauge over all instances, as over the workers of one."""
        labels = (*gauge.labels, "instance", "worker") if gauge.multiprocess_mode == "all" else gauge.labels
        how = "sum" if gauge.multiprocess_mode == "all" else gauge.multiprocess_mode
        return f"{how} {self.by(labels)}({self.of(gauge.name)})"


def labels_of(declared: Instrument[Any]) -> tuple[str, ...]:
    """Return the labels that tell the series of *declared* apart."""
    each = isinstance(declared, Gauge) and declared.multiprocess_mode == "all"
    return (*declared.labels, "instance", "worker") if each else declared.labels


def unit_of(declared: Instrument[Any]) -> str:
    """Return Grafana's name of the unit in which *declared* is shown."""
    kind = declared.name.rpartition("_")[2]
    if isinstance(declared, Counter):
        return {"bytes": "Bps", "seconds": "s"}.get(kind, "ops")
    return {"bytes": "bytes", "seconds": "s"}.get(kind, "short")


def counted(declared: Instrument[Any]) -> str:
    """Return the name of the series that grows by one with everything that *declared* records."""
    return f"{declared.name}_count" if isinstance(declared, Histogram) else f"{declared.name}_total"
