"""PromQL queries of instruments.

A counter with labels has no series before its first increment. So that its rate is zero until then, queries fall back
to the series of requests in flight, which every job exports from its start.
https://prometheus.io/docs/prometheus/latest/querying/operators/
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scalekit.telemetry import Counter, Gauge, Histogram, Instrument
from scalekit_metrics.metrics import IN_FLIGHT

SERVER_ERRORS = 'status=~"5.."'
"""Matcher of responses with a 5xx status."""


@dataclass(frozen=True)
class SeriesSelector:
    """Builds queries with a label *matcher* and a range *window*, which aggregate by *group_by* and further labels."""

    matcher: str
    window: str
    group_by: tuple[str, ...] = ()

    def by(self, labels: Sequence[str] = ()) -> str:
        """Return the ``by`` clause of *labels*, empty without any."""
        return f"by ({', '.join([*self.group_by, *labels])}) " if (*self.group_by, *labels) else ""

    def select(self, name: str, matcher: str = "") -> str:
        """Return the selector of the series *name*."""
        matchers = ", ".join(each for each in (self.matcher, matcher) if each)
        return f"{name}{{{matchers}}}" if matchers else name

    def rate(self, counter: str, labels: Sequence[str] = (), matcher: str = "") -> str:
        """Return the rate per second of *counter*, zero when it has no series."""
        rate = f"sum {self.by(labels)}(rate({self.select(counter, matcher)}[{self.window}]))"
        zero = f"0 * sum {self.by()}({self.select(IN_FLIGHT.name)})"
        return f"{rate} or on ({', '.join(self.group_by)}) {zero}"

    def quantile(self, histogram: str, quantile: float, labels: Sequence[str] = ()) -> str:
        """Return the *quantile* (0 to 1) of the observations of *histogram*."""
        buckets = f"rate({self.select(f'{histogram}_bucket')}[{self.window}])"
        return f"histogram_quantile({quantile}, sum {self.by(['le', *labels])}({buckets}))"

    def gauge(self, gauge: Gauge) -> str:
        """Return *gauge*, aggregated over instances as over the workers of one."""
        aggregation = "sum" if gauge.multiprocess_mode == "all" else gauge.multiprocess_mode
        return f"{aggregation} {self.by(labels_of(gauge))}({self.select(gauge.name)})"


def labels_of(instrument: Instrument[Any]) -> tuple[str, ...]:
    """Return the labels that identify a series of *instrument*."""
    per_worker = isinstance(instrument, Gauge) and instrument.multiprocess_mode == "all"
    return (*instrument.labels, "instance", "worker") if per_worker else instrument.labels


def unit_of(instrument: Instrument[Any]) -> str:
    """Return Grafana's unit id for *instrument*."""
    suffix = instrument.name.rpartition("_")[2]
    if isinstance(instrument, Counter):
        return {"bytes": "Bps", "seconds": "s"}.get(suffix, "ops")
    return {"bytes": "bytes", "seconds": "s"}.get(suffix, "short")


def count_series(instrument: Instrument[Any]) -> str:
    """Return the name of the series that counts the records of *instrument*."""
    return f"{instrument.name}_count" if isinstance(instrument, Histogram) else f"{instrument.name}_total"
