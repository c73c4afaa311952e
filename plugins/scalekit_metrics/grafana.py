"""Grafana dashboard as JSON, with a row of panels for each plugin.

https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scalekit.telemetry import Instrument
from scalekit_metrics.metrics import IN_FLIGHT
from scalekit_metrics.panels import Panel, overview, panels

WIDTH = 24
SOURCE = {"type": "prometheus", "uid": "${source}"}
SIZES = {"stat": (6, 4), "timeseries": (8, 7)}


def dashboard(title: str, catalogue: Mapping[str, Sequence[Instrument[Any]]]) -> dict[str, Any]:
    """Return the dashboard of what *catalogue* has, by plugin."""
    rows = {"Overview": overview()}
    for owner, declared in catalogue.items():
        rows[owner] = [panel for each in declared for panel in panels(each)]
    return {
        "title": title,
        "uid": f"scalekit-{title}"[:40],
        "tags": ["scalekit"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "templating": {"list": [_source(), _job()]},
        "panels": list(_laid_out(rows)),
    }


def _laid_out(rows: Mapping[str, Sequence[Panel]]) -> Iterator[dict[str, Any]]:
    numbers = itertools.count(1)
    top = 0
    for title, row in rows.items():
        place = {"x": 0, "y": top, "w": WIDTH, "h": 1}
        yield {"id": next(numbers), "type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []}
        left, top, height = 0, top + 1, 0
        for panel in row:
            width, tall = SIZES[panel.type]
            if left + width > WIDTH:
                left, top, height = 0, top + height, 0
            yield _panel(panel, next(numbers), {"x": left, "y": top, "w": width, "h": tall})
            left, height = left + width, max(height, tall)
        top += height


def _panel(panel: Panel, number: int, place: Mapping[str, int]) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + at), "datasource": SOURCE, "expr": query, "legendFormat": legend}
        for at, (query, legend) in enumerate(panel.queries)
    ]
    return {
        "id": number,
        "type": panel.type,
        "title": panel.title,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "options": {},
        "targets": targets,
    }


def _source() -> dict[str, Any]:
    return {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _job() -> dict[str, Any]:
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
