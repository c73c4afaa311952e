"""Grafana dashboard as JSON, with a row of panels for each plugin.

Panels show rates of counters, quantiles of histograms and values of gauges. The rows of plugins are collapsed, so that
Grafana queries only what is looked at.
https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from scalekit.telemetry import Counter, Gauge, Histogram, Instrument
from scalekit_metrics.metrics import DURATION, IN_FLIGHT
from scalekit_metrics.promql import SERVER_ERRORS, SeriesSelector, count_series, labels_of, unit_of

WIDTH = 24
SOURCE = {"type": "prometheus", "uid": "${source}"}
SIZES = {"stat": (6, 4), "timeseries": (8, 7)}
QUANTILES = (0.5, 0.95, 0.99)
_PREFIX = re.compile(r"^scalekit_[a-z]+_(?=[a-z])")
_UNIT = re.compile(r"(?<=[a-z])_(?:seconds|bytes)$")
BY_VARIABLES = SeriesSelector('job=~"$job"', "$__rate_interval")


@dataclass(frozen=True)
class Panel:
    """A Grafana panel: title, unit, and queries with their legends."""

    title: str
    unit: str
    queries: Sequence[tuple[str, str]]
    type: str = "timeseries"
    description: str = ""


def dashboard(title: str, catalogue: Mapping[str, Sequence[Instrument[Any]]]) -> dict[str, Any]:
    """Return the dashboard for the metrics of *catalogue*, with one row for each plugin; *title* identifies it."""
    instruments = [each for group in catalogue.values() for each in group]
    rows = {plugin: [panel for each in group for panel in panels(each)] for plugin, group in catalogue.items()}
    return {
        "title": title,
        "uid": unique_id(title),
        "tags": ["scalekit"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "templating": {"list": [_source_variable(), _job_variable()]},
        "panels": list(_arrange([*overview(), *shares(instruments)], rows)),
    }


def unique_id(title: str) -> str:
    """Return an identifier that no dashboard with another title has, of at most 40 characters that Grafana accepts."""
    readable = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:20]
    return f"scalekit-{readable}-{hashlib.sha256(title.encode()).hexdigest()[:8]}"


def overview() -> list[Panel]:
    """Return request rate, error rate, p99 latency, requests in flight, errors by route, CPU and RSS."""
    select = BY_VARIABLES
    requests = f"{DURATION}_count"
    error_rate = f"({select.rate(requests, matcher=SERVER_ERRORS)}) / ({select.rate(requests)})"
    errors = select.rate(requests, ("method", "route"), SERVER_ERRORS)
    cpu = f"sum(rate({select.select('process_cpu_seconds_total')}[{select.window}]))"
    rss = f"sum({select.select('process_resident_memory_bytes')})"
    return [
        Panel("Request rate", "reqps", [(select.rate(requests), "requests")], "stat"),
        Panel("Error rate", "percentunit", [(error_rate, "5xx")], "stat"),
        Panel("p99 latency", "s", [(select.quantile(DURATION, 0.99), "p99")], "stat"),
        Panel("Requests in flight", "short", [(select.gauge(IN_FLIGHT), "requests")], "stat"),
        Panel("Errors by route", "reqps", [(errors, "{{method}} {{route}}")]),
        Panel("CPU", "short", [(cpu, "cores")]),
        Panel("RSS", "bytes", [(rss, "resident memory")]),
    ]


def shares(instruments: Iterable[Instrument[Any]]) -> Iterator[Panel]:
    """Yield a panel in percent for each of *instruments* that declares a share."""
    select = BY_VARIABLES
    for instrument in instruments:
        share = instrument.share
        if share is None:
            continue
        if isinstance(instrument, Gauge):
            whole = replace(instrument, name=share.whole)
            query, labels = f"{select.gauge(instrument)} / {select.gauge(whole)}", labels_of(instrument)
        else:
            name, labels = count_series(instrument), ()
            matcher = f'{instrument.labels[0]}=~"{"|".join(share.values)}"'
            query = f"({select.rate(name, matcher=matcher)}) / ({select.rate(name)})"
        yield Panel(share.title, "percentunit", [(query, _legend(labels) or share.title.lower())])


def panels(instrument: Instrument[Any]) -> Iterator[Panel]:
    """Yield the panels of *instrument*."""
    title, unit = _title(instrument), unit_of(instrument)
    legend = _legend(labels_of(instrument))
    if isinstance(instrument, Histogram):
        quantiles = [(BY_VARIABLES.quantile(instrument.name, q), f"p{q * 100:g}") for q in QUANTILES]
        yield Panel(title, unit, quantiles, description=instrument.help)
        if instrument.labels:
            count = [(_rate(instrument), legend)]
            yield Panel(f"{title}: count", "ops", count, description=f"{instrument.help} Records per second.")
    elif isinstance(instrument, Counter):
        yield Panel(title, unit, [(_rate(instrument), legend or "per second")], description=instrument.help)
    elif isinstance(instrument, Gauge):
        query = BY_VARIABLES.gauge(instrument)
        yield Panel(title, unit, [(query, legend or "value")], description=instrument.help)


def _title(instrument: Instrument[Any]) -> str:
    """Return the name of *instrument* in words, without its plugin, which is the title of the row, and its unit."""
    words = _UNIT.sub("", _PREFIX.sub("", instrument.name)).replace("_", " ")
    return f"HTTP{words[4:]}" if words.startswith("http ") else words[0].upper() + words[1:]


def _legend(labels: Sequence[str]) -> str:
    return " ".join(f"{{{{{label}}}}}" for label in labels)


def _rate(instrument: Instrument[Any]) -> str:
    return BY_VARIABLES.rate(count_series(instrument), instrument.labels)


def _arrange(overview: Sequence[Panel], rows: Mapping[str, Sequence[Panel]]) -> Iterator[dict[str, Any]]:
    numbers = itertools.count(1)
    yield _row("Overview", next(numbers), 0)
    placed, y = _place(overview, numbers, 1)
    yield from placed
    for title, row in rows.items():
        number = next(numbers)
        inside, end = _place(row, numbers, y + 1)
        yield {**_row(title, number, y), "collapsed": True, "panels": inside}
        y = end


def _row(title: str, number: int, y: int) -> dict[str, Any]:
    position = {"x": 0, "y": y, "w": WIDTH, "h": 1}
    return {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": position, "panels": []}


def _place(row: Sequence[Panel], numbers: Iterator[int], y: int) -> tuple[list[dict[str, Any]], int]:
    """Return the panels of a row that begins at *y*, from left to right, and where the next row begins."""
    placed = []
    x = row_height = 0
    for panel in row:
        width, height = SIZES[panel.type]
        if x + width > WIDTH:
            x, y, row_height = 0, y + row_height, 0
        placed.append(_panel(panel, next(numbers), {"x": x, "y": y, "w": width, "h": height}))
        x, row_height = x + width, max(row_height, height)
    return placed, y + row_height


def _panel(panel: Panel, number: int, position: Mapping[str, int]) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + index), "datasource": SOURCE, "expr": query, "legendFormat": legend}
        for index, (query, legend) in enumerate(panel.queries)
    ]
    return {
        "id": number,
        "type": panel.type,
        "title": panel.title,
        "description": panel.description,
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
