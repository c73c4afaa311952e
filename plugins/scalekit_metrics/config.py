"""Configuration table ``[plugins.metrics]``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from scalekit import Table, TextPattern
from scalekit.telemetry import DEFAULT_BUCKETS


class MetricsConfig(Table):
    """Path of the metrics endpoint, and histogram buckets."""

    path: Annotated[
        str, TextPattern(r"^/[^?#{}\s]*[^/?#{}\s]$", 'a path such as "/metrics", without a slash at its end')
    ] = "/metrics"
    """Path of the page that Prometheus scrapes."""
    buckets: tuple[Annotated[float, Field(gt=0)], ...] = DEFAULT_BUCKETS
    """Upper bounds, in seconds, of the buckets of ``http_request_duration_seconds``."""
    max_series: Annotated[int, Field(ge=1)] = 2000
    """Series that each metric may have; what comes beyond them is counted as ``other``."""
    exemplars: bool = True
    """Whether buckets show the trace id of a request that fell into them, in the OpenMetrics format."""

    @field_validator("buckets")
    @classmethod
    def _rise(cls, buckets: tuple[float, ...]) -> tuple[float, ...]:
        if not buckets or list(buckets) != sorted(set(buckets)):
            raise ValueError(f"expected bounds that rise, such as [0.01, 0.1, 1.0], got {list(buckets)}")
        return buckets
