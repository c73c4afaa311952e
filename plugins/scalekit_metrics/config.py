"""Configuration table ``[plugins.metrics]``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from scalekit import DeployMark, Table, TextPattern
from scalekit.telemetry import DEFAULT_BUCKETS


class MetricsConfig(Table):
    """Metrics endpoint, histogram buckets and limits."""

    path: Annotated[
        str,
        TextPattern(r"^/[^?#{}\s]*[^/?#{}\s]$", 'a path without a trailing slash, such as "/metrics"'),
        DeployMark("metrics_path"),
    ] = "/metrics"
    """Path of the metrics endpoint."""
    buckets: tuple[Annotated[float, Field(gt=0)], ...] = DEFAULT_BUCKETS
    """Upper bounds of the buckets of ``http_request_duration_seconds``, in seconds, ascending."""
    max_series: Annotated[int, Field(ge=1)] = 2000
    """Maximum number of series of each metric; further label values are counted as ``other``."""
    exemplars: bool = True
    """Add the trace id of a request to each bucket, in the OpenMetrics format."""

    @field_validator("buckets")
    @classmethod
    def _require_ascending(cls, buckets: tuple[float, ...]) -> tuple[float, ...]:
        if not buckets or list(buckets) != sorted(set(buckets)):
            raise ValueError(f"expected ascending bounds, such as [0.01, 0.1, 1.0], got {list(buckets)}")
        return buckets
