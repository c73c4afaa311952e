"""Hooks of the plugin ``metrics``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import click
from starlette.routing import BaseRoute

from scalekit import Context, Layer, LayeredFilter, Lifespan, ManagementRoute, Table, hookimpl
from scalekit.telemetry import TELEMETRY, Instrument, instruments_in
from scalekit_metrics import metrics
from scalekit_metrics.commands import commands
from scalekit_metrics.config import MetricsConfig
from scalekit_metrics.endpoint import MetricsEndpoint
from scalekit_metrics.filters import RequestMetricsFilter
from scalekit_metrics.metrics import NAMES, duration
from scalekit_metrics.prometheus_client_bridge import PrometheusClientBridge, default_registry, verify_library
from scalekit_metrics.request_metrics import RequestMetrics


@hookimpl
def scalekit_config() -> type[Table]:
    """Return the model of ``[plugins.metrics]``."""
    return MetricsConfig


@hookimpl
def scalekit_lifespan(context: Context) -> Lifespan:
    """Return the lifespan that exports the registry of prometheus_client."""

    @asynccontextmanager
    async def run() -> AsyncGenerator[None, None]:
        with context.get(TELEMETRY).with_collector(PrometheusClientBridge(default_registry, NAMES).families):
            yield

    def verify(_: object) -> None:
        verify_library(context.server.workers or 0)

    return Lifespan(run, series_budget=context.config(MetricsConfig).max_series, verify=verify)


@hookimpl
def scalekit_filters(context: Context) -> Sequence[LayeredFilter]:
    """Return the filter that records requests, including those that other filters reject."""
    config = context.config(MetricsConfig)
    request_metrics = RequestMetrics(context.get(TELEMETRY), config.buckets)
    return [LayeredFilter(Layer.METRICS, RequestMetricsFilter(request_metrics, config.exemplars))]


@hookimpl
def scalekit_routes(context: Context) -> Sequence[BaseRoute]:
    """Return the metrics endpoint."""
    endpoint = MetricsEndpoint(context.get(TELEMETRY))
    return [ManagementRoute(context.config(MetricsConfig).path, endpoint.respond)]


@hookimpl
def scalekit_metrics(context: Context) -> Sequence[Instrument[Any]]:
    """Return the metrics of requests."""
    return [duration(context.config(MetricsConfig).buckets), *instruments_in(metrics)]


@hookimpl
def scalekit_commands(context: Context) -> Sequence[click.Command]:
    """Return ``scalekit metrics dashboard``."""
    return commands(context)
