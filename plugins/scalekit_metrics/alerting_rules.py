"""Recording and alerting rules of Prometheus.

https://prometheus.io/docs/prometheus/latest/configuration/recording_rules/
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scalekit.telemetry import Alert, Counter, Gauge, Histogram, Instrument
from scalekit_metrics.metrics import DURATION, IN_FLIGHT
from scalekit_metrics.panels import ERRORS
from scalekit_metrics.promql import SeriesSelector, counted, labels_of

WATCHED = SeriesSelector("", "5m", ("job",))
ERROR_RATE = "job:http_request_failures:ratio5m"
INSTANCE_UP = "instance:scalekit_up"


@dataclass(frozen=True)
class RecordingRule:
    """A query whose result Prometheus records under a name."""

    name: str
    query: str

    def lines(self) -> Iterator[str]:
        """Yield the rule as YAML."""
        yield f"      - record: {self.name}"
        yield f"        expr: {json.dumps(self.query)}"


@dataclass(frozen=True)
class AlertingRule:
    """An alert on *query*; *labels* identify its series."""

    name: str
    query: str
    alert: Alert
    labels: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """Yield the rule as YAML."""
        about = ", ".join(f"{label} {{{{ $labels.{label} }}}}" for label in ("job", *self.labels))
        yield f"      - alert: {self.name}"
        yield f"        expr: {json.dumps(f'{self.query} {self.alert.beyond} {self.alert.bound:g}')}"
        yield f"        for: {self.alert.lasting}"
        yield f"        labels: {{severity: {self.alert.severity}}}"
        yield "        annotations:"
        yield f"          summary: {json.dumps(self.alert.summary)}"
        yield f"          description: {json.dumps(f'{about}: {{{{ $value }}}}')}"


Rule = RecordingRule | AlertingRule


def written(catalogue: Mapping[str, Sequence[Instrument[Any]]]) -> str:
    """Return the file of rules for what *catalogue* has: a group for each plugin."""
    groups = {"service": list(_service())}
    for owner, declared in catalogue.items():
        groups[owner] = [rule for each in declared for rule in _rules(each)]
    return "\n".join(["groups:", *_lines(groups), ""])


def _lines(groups: Mapping[str, Sequence[Rule]]) -> Iterator[str]:
    for name, rules in groups.items():
        if rules:
            yield f"  - name: scalekit-{name}"
            yield "    rules:"
            for rule in rules:
                yield from rule.lines()


def _service() -> Iterator[Rule]:
    requests = f"{DURATION}_count"
    failed, all_of_them = WATCHED.rate(requests, matcher=ERRORS), WATCHED.rate(requests)
    yield RecordingRule(ERROR_RATE, f"({failed}) / ({all_of_them})")
    yield AlertingRule(
        "ScalekitHighErrorRate",
        ERROR_RATE,
        Alert("Error rate is above 1 %.", bound=0.01, severity="critical"),
        (),
    )
    # An instance that has shown requests in flight within the hour is expected, also while it is down.
    yield RecordingRule(INSTANCE_UP, f"up and on (job, instance) last_over_time({IN_FLIGHT.name}[1h])")
    gone = Alert("Instance is down: it cannot be scraped.", beyond="<", bound=1, lasting="1m", severity="critical")
    yield AlertingRule("ScalekitInstanceDown", INSTANCE_UP, gone, ("instance",))


def _rules(declared: Instrument[Any]) -> Iterator[Rule]:
    query, labels = f"job:{declared.name}:rate5m", labels_of(declared)
    if isinstance(declared, Counter):
        yield RecordingRule(query, WATCHED.rate(counted(declared), declared.labels))
    elif isinstance(declared, Histogram):
        yield RecordingRule(query, WATCHED.rate(counted(declared), declared.labels))
        query = f"job:{declared.name}:p99_5m"
        yield RecordingRule(query, WATCHED.quantile(declared.name, 0.99, declared.labels))
    elif isinstance(declared, Gauge):
        query = WATCHED.gauge(declared)
    if declared.alert is not None:
        yield AlertingRule(_camel(declared.name), query, declared.alert, labels)


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))
