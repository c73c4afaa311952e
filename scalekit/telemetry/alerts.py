"""Alerting thresholds of metrics, from which Prometheus rules are generated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Alert:
    """A threshold: the alert fires when the metric is *beyond* *bound* for *lasting*; *summary* describes the fault.

    It compares a counter's error rate per second over five minutes, a histogram's 99th percentile over five minutes, or
    the value of a gauge.
    """

    summary: str
    beyond: Literal[">", "<"] = ">"
    bound: float = 0
    lasting: str = "5m"
    severity: Literal["warning", "critical"] = "warning"
