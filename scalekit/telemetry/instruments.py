"""Instruments: the name, help text and labels of a metric. They hold no values, so modules declare them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

from starlette.requests import HTTPConnection

from scalekit.context import Key
from scalekit.telemetry.series import (
    CounterSeries,
    GaugeSeries,
    HistogramSeries,
    NoCounter,
    NoGauge,
    NoHistogram,
)

if TYPE_CHECKING:
    from scalekit.telemetry.registry import Telemetry

S = TypeVar("S", CounterSeries, GaugeSeries, HistogramSeries)

TELEMETRY: Key[Telemetry] = Key("telemetry")
"""The metrics registry of the application; the host provides it before plugins start."""

DEFAULT_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""The default buckets of prometheus_client, in seconds."""

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_SUFFIXES = ("_total", "_created", "_bucket", "_count", "_sum", "_info")
_RESERVED_LABELS = ("le", "quantile", "worker")


@dataclass(frozen=True)
class Alert:
    """Fires while a metric compares by *operator* with *threshold* for *duration*.

    *summary* describes the fault, *remedy* says in the runbook what it causes and what to do. The compared value is a
    counter's rate per second over five minutes, a histogram's 99th percentile over five minutes, or the value of a
    gauge. *duration* is in Prometheus notation.
    """

    summary: str
    remedy: str
    operator: Literal[">", "<"] = ">"
    threshold: float = 0
    duration: str = "5m"
    severity: Literal["warning", "critical"] = "warning"


@dataclass(frozen=True)
class Share:
    """A share of a metric that the overview of dashboards shows in percent, under *title*.

    Of a counter, the part is its rate with one of *values* of its first label, and the whole is its rate. Of a gauge,
    the part is its value, and the whole is that of the gauge with the name *whole*.
    """

    title: str
    values: tuple[str, ...] = ()
    whole: str = ""


@dataclass(frozen=True)
class Instrument(Generic[S]):
    """A metric's name, help and label names; calling it with a request returns a series.

    *alert* is the alerting threshold, *share* what dashboards show of it in percent. *group* names the metric's group
    in dashboards and alerts; the default is the plugin that records it.
    """

    kind: ClassVar[str]
    name: str
    help: str
    labels: tuple[str, ...] = ()
    alert: Alert | None = field(default=None, kw_only=True)
    share: Share | None = field(default=None, kw_only=True)
    group: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"metric {self.name!r}: a name consists of letters, digits and underscores")
        if self.name.endswith(_SUFFIXES):
            raise ValueError(f"metric {self.name!r}: omit the suffix; the exporter adds it")
        for label in self.labels:
            if label in _RESERVED_LABELS or not _LABEL.fullmatch(label):
                raise ValueError(f"metric {self.name!r}: {label!r} is a reserved or invalid label; choose another name")

    def __call__(self, request: HTTPConnection, *values: str) -> S:
        """Return the series under the label *values*, one for each label, in the application that serves *request*."""
        return TELEMETRY(request).series(self, *values)

    def new_series(self) -> S:
        """Return a new series."""
        raise TypeError("declare a Counter, a Gauge or a Histogram")

    def null_series(self) -> S:
        """Return a series that records nothing."""
        raise TypeError("declare a Counter, a Gauge or a Histogram")


@dataclass(frozen=True)
class Counter(Instrument[CounterSeries]):
    """A counter; exported with the suffix ``_total``."""

    kind = "counter"

    def new_series(self) -> CounterSeries:
        """Return a counter at zero."""
        return CounterSeries()

    def null_series(self) -> CounterSeries:
        """Return a counter that records nothing."""
        return NoCounter()


@dataclass(frozen=True)
class Gauge(Instrument[GaugeSeries]):
    """A gauge: a value that rises and falls.

    *multiprocess_mode* combines the values of workers: ``sum``, ``max``, ``min``, or ``all`` for one series per worker
    with the label ``worker``.
    """

    kind = "gauge"
    multiprocess_mode: Literal["sum", "max", "min", "all"] = "sum"

    def new_series(self) -> GaugeSeries:
        """Return a gauge at zero."""
        return GaugeSeries()

    def null_series(self) -> GaugeSeries:
        """Return a gauge that records nothing."""
        return NoGauge()


@dataclass(frozen=True)
class Histogram(Instrument[HistogramSeries]):
    """A histogram; *buckets* are inclusive upper bounds in ascending order."""

    kind = "histogram"
    buckets: tuple[float, ...] = DEFAULT_BUCKETS

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.buckets or list(self.buckets) != sorted(set(self.buckets)):
            raise ValueError(f"metric {self.name!r}: buckets must be non-empty and ascending")

    def new_series(self) -> HistogramSeries:
        """Return a histogram without observations."""
        return HistogramSeries(self.buckets)

    def null_series(self) -> HistogramSeries:
        """Return a histogram that records nothing."""
        return NoHistogram(self.buckets)


AnyInstrument = Instrument[Any]


def instruments_in(*modules: ModuleType) -> list[AnyInstrument]:
    """Return every instrument that *modules* declare, for the hook ``scalekit_metrics``."""
    return [value for module in modules for value in vars(module).values() if isinstance(value, Instrument)]


Catalogue = dict[str, list[AnyInstrument]]


def catalogue(by_owner: Mapping[str, Iterable[AnyInstrument]]) -> Catalogue:
    """Return the instruments of each owner; one that names a group is listed once, under the group."""
    grouped: Catalogue = {}
    for owner, instruments in by_owner.items():
        for each in instruments:
            known = grouped.setdefault(each.group or owner, [])
            if each not in known:
                known.append(each)
    return grouped
