"""Dashboard panels of each metric: rates of counters, quantiles of histograms, values of gauges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from scalekit.telemetry import Counter, Gauge, Histogram, Instrument
from scalekit_metrics.metrics import DURATION, IN_FLIGHT
from scalekit_metrics.promql import SeriesSelector, counted, labels_of, unit_of

QUANTILES = (0.5, 0.95, 0.99)
SHOWN = SeriesSelector('job=~"$job"', "$__rate_interval")
ERRORS = 'status=~"5.."'


@dataclass(frozen=True)
class Panel:
    """A Grafana panel: title, unit, and queries with their legends."""

    title: str
    unit: str
    queries: Sequence[tuple[str, str]]
    type: str = "timeseries"


def overview() -> list[Panel]:
    """Return request rate, error rate, p99 latency, requests in flight, CPU and RSS."""
    requests = f"{DURATION}_count"
    failed = f"({SHOWN.rate(requests, matcher=ERRORS)}) / ({SHOWN.rate(requests)})"
    cpu = f"sum(rate({SHOWN.of('process_cpu_seconds_total')}[{SHOWN.window}]))"
    memory = f"sum({SHOWN.of('process_resident_memory_bytes')})"
    return [
        Panel("Request rate", "reqps", [(SHOWN.rate(requests), "requests")], "stat"),
        Panel("Error rate", "percentunit", [(failed, "5xx")], "stat"),
        Panel("p99 latency", "s", [(SHOWN.quantile(DURATION, 0.99), "p99")], "stat"),
        Panel("Requests in flight", "short", [(SHOWN.gauge(IN_FLIGHT), "requests")], "stat"),
        Panel("CPU", "short", [(cpu, "cores")]),
        Panel("RSS", "bytes", [(memory, "resident memory")]),
    ]


def panels(declared: Instrument[Any]) -> Iterator[Panel]:
    """Yield the panels of one metric."""
    title = declared.help.removesuffix(".")
    legend = " ".join(f"{{{{{label}}}}}" for label in labels_of(declared))
    if isinstance(declared, Histogram):
        yield Panel(title, unit_of(declared), [(SHOWN.quantile(declared.name, q), f"p{q * 100:g}") for q in QUANTILES])
        if declared.labels:
            query = SHOWN.rate(counted(declared), declared.labels)
            yield Panel(f"{title}: rate", "ops", [(query, legend)])
    elif isinstance(declared, Counter):
        yield Panel(
            title, unit_of(declared), [(SHOWN.rate(counted(declared), declared.labels), legend or "per second")]
        )
    elif isinstance(declared, Gauge):
        yield Panel(title, unit_of(declared), [(SHOWN.gauge(declared), legend or "value")])
