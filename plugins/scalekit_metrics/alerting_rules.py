"""Recording and alerting rules of Prometheus, and the runbook of the alerts.

https://prometheus.io/docs/prometheus/latest/configuration/recording_rules/
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from scalekit.telemetry import Alert, Counter, Gauge, Histogram, Instrument
from scalekit_metrics.metrics import DURATION, IN_FLIGHT
from scalekit_metrics.promql import SERVER_ERRORS, SeriesSelector, count_series, labels_of

BY_JOB = SeriesSelector("", "5m", ("job",))
RUNBOOK_INTRODUCTION = """# Runbook

What each alert of `scalekit metrics dashboard` means, and what to do. Each alert links to its section.
"""
RUNBOOK_WIDTH = 120
ERROR_RATE = "job:http_request_failures:ratio5m"
INSTANCE_UP = "instance:scalekit_up"


class RuleLinks(NamedTuple):
    """What all alerts refer to: the name of the service, and the URL of its runbook."""

    service: str
    runbook: str


@dataclass(frozen=True)
class RecordingRule:
    """A query whose result Prometheus records as the series *name*."""

    name: str
    query: str

    def lines(self, links: RuleLinks) -> Iterator[str]:
        """Yield the rule as lines of YAML."""
        yield f"      - record: {self.name}"
        yield f"        expr: {json.dumps(self.query)}"


@dataclass(frozen=True)
class AlertingRule:
    """An alert on *query*; *labels* identify its series."""

    name: str
    query: str
    alert: Alert
    labels: tuple[str, ...]

    def lines(self, links: RuleLinks) -> Iterator[str]:
        """Yield the rule as lines of YAML."""
        series = ", ".join(f"{label} {{{{ $labels.{label} }}}}" for label in ("job", *self.labels))
        yield f"      - alert: {self.name}"
        yield f"        expr: {json.dumps(f'{self.query} {self.alert.operator} {self.alert.threshold:g}')}"
        yield f"        for: {self.alert.duration}"
        yield f"        labels: {{severity: {self.alert.severity}, service: {json.dumps(links.service)}}}"
        yield "        annotations:"
        yield f"          summary: {json.dumps(self.alert.summary)}"
        yield f"          description: {json.dumps(f'{series}: {{{{ $value }}}}')}"
        yield f"          runbook_url: {json.dumps(f'{links.runbook}#{self.name.lower()}')}"


Rule = RecordingRule | AlertingRule
Catalogue = Mapping[str, Sequence[Instrument[Any]]]
"""The metrics of each plugin."""


def render(catalogue: Catalogue, links: RuleLinks) -> str:
    """Return the rules for the metrics of *catalogue* as YAML, with one group for each plugin."""
    return "\n".join(["groups:", *_lines(rules_by_group(catalogue), links), ""])


def rules_by_group(catalogue: Catalogue) -> dict[str, list[Rule]]:
    """Return the rules of the service, and those for the metrics of each plugin."""
    groups = {"service": list(_service_rules())}
    for plugin, instruments in catalogue.items():
        groups[plugin] = [rule for instrument in instruments for rule in _instrument_rules(instrument)]
    return groups


def _lines(groups: Mapping[str, Sequence[Rule]], links: RuleLinks) -> Iterator[str]:
    for name, rules in groups.items():
        if rules:
            yield f"  - name: scalekit-{name}"
            yield "    rules:"
            for rule in rules:
                yield from rule.lines(links)


def _service_rules() -> Iterator[Rule]:
    requests = f"{DURATION}_count"
    errors, total = BY_JOB.rate(requests, matcher=SERVER_ERRORS), BY_JOB.rate(requests)
    yield RecordingRule(ERROR_RATE, f"({errors}) / ({total})")
    error_rate = Alert(
        "Error rate is above 1 %.",
        "Clients receive statuses of 500 and above. The panel of errors by route of the dashboard says which routes"
        " fail, the log has the reason by request id, and `/health` shows failing checks. Was there a deployment?",
        threshold=0.01,
        severity="critical",
    )
    yield AlertingRule("ScalekitHighErrorRate", ERROR_RATE, error_rate, ())
    # Prometheus expects every instance that exported requests in flight within the last hour.
    yield RecordingRule(INSTANCE_UP, f"up and on (job, instance) last_over_time({IN_FLIGHT.name}[1h])")
    down = Alert(
        "Instance is down: scrapes fail.",
        "The process has ended, hangs, or is unreachable from Prometheus. Read the end of its log; the supervisor"
        " replaces workers, and the service manager should restart the service.",
        operator="<",
        threshold=1,
        duration="1m",
        severity="critical",
    )
    yield AlertingRule("ScalekitInstanceDown", INSTANCE_UP, down, ("instance",))


def _instrument_rules(instrument: Instrument[Any]) -> Iterator[Rule]:
    query = f"job:{instrument.name}:rate5m"
    if isinstance(instrument, Counter):
        yield RecordingRule(query, BY_JOB.rate(count_series(instrument), instrument.labels))
    elif isinstance(instrument, Histogram):
        yield RecordingRule(query, BY_JOB.rate(count_series(instrument), instrument.labels))
        query = f"job:{instrument.name}:p99_5m"
        yield RecordingRule(query, BY_JOB.quantile(instrument.name, 0.99, instrument.labels))
    elif isinstance(instrument, Gauge):
        query = BY_JOB.gauge(instrument)
    if instrument.alert is not None:
        yield AlertingRule(_camel_case(instrument.name), query, instrument.alert, labels_of(instrument))


def runbook(catalogue: Catalogue) -> str:
    """Return the runbook for the alerts on the metrics of *catalogue* as Markdown, with a chapter for each plugin."""
    return "\n".join([RUNBOOK_INTRODUCTION, *_chapters(catalogue)])


def _chapters(catalogue: Catalogue) -> Iterator[str]:
    for name, rules in rules_by_group(catalogue).items():
        alerts = [rule for rule in rules if isinstance(rule, AlertingRule)]
        if alerts:
            yield f"## {name}\n"
            yield from (line for alert in alerts for line in _section(alert))


def _section(rule: AlertingRule) -> Iterator[str]:
    alert = rule.alert
    yield f"### {rule.name}\n"
    condition = f"`{rule.query}` {alert.operator} {alert.threshold:g} for {alert.duration}"
    yield f"**{alert.summary}** Severity: {alert.severity}.\n"
    yield textwrap.fill(alert.remedy, RUNBOOK_WIDTH, break_long_words=False, break_on_hyphens=False) + "\n"
    yield f"Fires while {condition}.\n"


def _camel_case(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))
