"""Hooks of the plugin ``cors``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scalekit import Context, Layer, LayeredFilter, Table, hookimpl
from scalekit.telemetry import TELEMETRY, Instrument, instruments_in
from scalekit_cors import metrics
from scalekit_cors.config import CorsConfig
from scalekit_cors.filters import CorsFilter
from scalekit_cors.metrics import PreflightMetrics
from scalekit_cors.policies import policies_of


@hookimpl
def scalekit_config() -> type[Table]:
    """Return the model of ``[plugins.cors]``."""
    return CorsConfig


@hookimpl
def scalekit_filters(context: Context) -> Sequence[LayeredFilter]:
    """Return the filter, outside of limits, authentication and cache."""
    policies = policies_of(context.config(CorsConfig))
    return [LayeredFilter(Layer.EDGE, CorsFilter(policies, PreflightMetrics(context.get(TELEMETRY))))]


@hookimpl
def scalekit_metrics(context: Context) -> Sequence[Instrument[Any]]:
    """Return the metrics of preflights."""
    return instruments_in(metrics)
