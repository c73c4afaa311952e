"""Grafana dashboard as JSON, with a row of panels for each plugin.

Panels show rates of counters, quantiles of histograms and values of gauges.
https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scalekit.telemetry import Counter, Gauge, Histogram, Instrument
from scalekit_metrics.metrics import DURATION, IN_FLIGHT
from scalekit_metrics.promql import SERVER_ERRORS, SeriesSelector, count_series, labels_of, unit_of

WIDTH = 24
SOURCE = {"type": "prometheus", "uid": "${source}"}
SIZES = {"stat": (6, 4), "timeseries": (8, 7)}
QUANTILES = (0.5, 0.95, 0.99)
BY_VARIABLES = SeriesSelector('job=~"$job"', "$__rate_interval")


@dataclass(frozen=True)
class Panel:
    """A Grafana panel: title, unit, and queries with their legends."""

    title: str
    unit: str
    queries: Sequence[tuple[str, str]]
    type: str = "timeseries"


def dashboard(title: str, catalogue: Mapping[str, Sequence[Instrument[Any]]]) -> dict[str, Any]:
    """Return the dashboard for the metrics of *catalogue*, with one row for each plugin."""
    rows = {"Overview": overview()}
    for plugin, instruments in catalogue.items():
        rows[plugin] = [panel for instrument in instruments for panel in panels(instrument)]
    return {
        "title": title,
        "uid": f"scalekit-{title}"[:40],
        "tags": ["scalekit"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "templating": {"list": [_source_variable(), _job_variable()]},
        "panels": list(_arrange(rows)),
    }


def overview() -> list[Panel]:
    """Return request rate, error rate, p99 latency, requests in flight, CPU and RSS."""
    select = BY_VARIABLES
    requests = f"{DURATION}_count"
    error_rate = f"({select.rate(requests, matcher=SERVER_ERRORS)}) / ({select.rate(requests)})"
    cpu = f"sum(rate({select.select('process_cpu_seconds_total')}[{select.window}]))"
    rss = f"sum({select.select('process_resident_memory_bytes')})"
    return [
        Panel("Request rate", "reqps", [(select.rate(requests), "requests")], "stat"),
        Panel("Error rate", "percentunit", [(error_rate, "5xx")], "stat"),
        Panel("p99 latency", "s", [(select.quantile(DURATION, 0.99), "p99")], "stat"),
        Panel("Requests in flight", "short", [(select.gauge(IN_FLIGHT), "requests")], "stat"),
        Panel("CPU", "short", [(cpu, "cores")]),
        Panel("RSS", "bytes", [(rss, "resident memory")]),
    ]


def panels(instrument: Instrument[Any]) -> Iterator[Panel]:
    """Yield the panels of *instrument*."""
    title, unit = instrument.help.removesuffix("."), unit_of(instrument)
    legend = " ".join(f"{{{{{label}}}}}" for label in labels_of(instrument))
    if isinstance(instrument, Histogram):
        quantiles = [(BY_VARIABLES.quantile(instrument.name, q), f"p{q * 100:g}") for q in QUANTILES]
        yield Panel(title, unit, quantiles)
        if instrument.labels:
            yield Panel(f"{title}: rate", "ops", [(_rate(instrument), legend)])
    elif isinstance(instrument, Counter):
        yield Panel(title, unit, [(_rate(instrument), legend or "per second")])
    elif isinstance(instrument, Gauge):
        yield Panel(title, unit, [(BY_VARIABLES.gauge(instrument), legend or "value")])


def _rate(instrument: Instrument[Any]) -> str:
    return BY_VARIABLES.rate(count_series(instrument), instrument.labels)


def _arrange(rows: Mapping[str, Sequence[Panel]]) -> Iterator[dict[str, Any]]:
    numbers = itertools.count(1)
    y = 0
    for title, row in rows.items():
        yield {
            "id": next(numbers),
            "type": "row",
            "title": title,
            "collapsed": False,
            "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1},
            "panels": [],
        }
        x, y, row_height = 0, y + 1, 0
        for panel in row:
            width, height = SIZES[panel.type]
            if x + width > WIDTH:
                x, y, row_height = 0, y + row_height, 0
            yield _panel(panel, next(numbers), {"x": x, "y": y, "w": width, "h": height})
            x, row_height = x + width, max(row_height, height)
        y += row_height


def _panel(panel: Panel, number: int, position: Mapping[str, int]) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + index), "datasource": SOURCE, "expr": query, "legendFormat": legend}
        for index, (query, legend) in enumerate(panel.queries)
    ]
    return {
        "id": number,
        "type": panel.type,
        "title": panel.title,
        "datasource": SOURCE,
        "gridPos": position,
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "options": {},
        "targets": targets,
    }


def _source_variable() -> dict[str, Any]:
    return {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _job_variable() -> dict[str, Any]:
    query = f"label_values({IN_FLIGHT.name}, job)"
    return {
        "name": "job",
        "label": "Job",
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": "job"},
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }
