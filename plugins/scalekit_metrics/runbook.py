"""The runbook: what each alert means and what to do, as Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from scalekit_metrics.alerting_rules import AlertingRule, Catalogue, rules_by_group

WIDTH = 120
INTRODUCTION = """# Runbook

What each alert of `scalekit metrics dashboard` means, and what to do. Each alert links to its section.
"""


def render(catalogue: Catalogue) -> str:
    """Return the runbook for the alerts on the metrics of *catalogue*, with a chapter for each plugin."""
    return "\n".join([INTRODUCTION, *_chapters(catalogue)])


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
    yield textwrap.fill(alert.remedy, WIDTH, break_long_words=False, break_on_hyphens=False) + "\n"
    yield f"Fires while {condition}.\n"
