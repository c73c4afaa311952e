"""When a metric is a reason to call somebody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Alert:
    """A bound that a metric must not be beyond for long; *summary* says what is wrong then.

    What is compared is a counter's rate per second over five minutes, the 99th percentile of a histogram over as long,
    or the value of a gauge.
    """

    summary: str
    beyond: Literal[">", "<"] = ">"
    bound: float = 0
    lasting: str = "5m"
    severity: Literal["warning", "critical"] = "warning"
