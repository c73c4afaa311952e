"""The hooks of discovery."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Container, Sequence
from contextlib import asynccontextmanager
from typing import Any

import click

from scalekit import (
    REQUEST_CONTEXT,
    Check,
    Context,
    Key,
    Layer,
    LayeredFilter,
    Lifespan,
    ServerRequirement,
    Table,
    hookimpl,
)
from scalekit.contracts import SERVICES
from scalekit.pages import ConsolePage
from scalekit.telemetry import Instrument, instruments_in
from scalekit_discovery import metrics
from scalekit_discovery.commands import commands
from scalekit_discovery.config import DiscoveryConfig
from scalekit_discovery.factory import verify_source
from scalekit_discovery.pages import DiscoveryPage
from scalekit_discovery.recorded_calls import RecordingLoadBalancer
from scalekit_discovery.service import DiscoveryService

SERVICE: Key[DiscoveryService] = Key("discovery service", plugin="discovery")


@hookimpl
def scalekit_config() -> type[Table]:
    """Return the model of ``[plugins.discovery]``."""
    return DiscoveryConfig


@hookimpl
def scalekit_lifespan(context: Context) -> Lifespan:
    """Return the lifespan that watches services, and registers this instance once it is ready."""
    service = DiscoveryService(context)
    context.provide(SERVICE, service)

    def verify(provided: Container[Key[Any]]) -> None:
        verify_source(context.config(DiscoveryConfig))

    @asynccontextmanager
    async def run() -> AsyncGenerator[None, None]:
        async with service.open() as directory:
            context.provide(SERVICES, directory)
            yield

    return Lifespan(run, provides=(SERVICES,), ready=service.start, drain=service.drain, verify=verify)


@hookimpl
def scalekit_servers(context: Context) -> Sequence[ServerRequirement]:
    """Return the Consul, or the API of Kubernetes, that has the addresses of services."""
    source = context.config(DiscoveryConfig).source
    if source not in ("consul", "kubernetes"):
        return []
    return [ServerRequirement(source, f"plugins.discovery.{source}", "discovery")]


@hookimpl
def scalekit_metrics(context: Context) -> Sequence[Instrument[Any]]:
    """Return the metrics that this configuration records."""
    unused = [] if context.config(DiscoveryConfig).service else [metrics.REGISTERED]
    return [each for each in instruments_in(metrics) if each not in unused]


@hookimpl
def scalekit_pages(context: Context) -> Sequence[ConsolePage]:
    """Return the page of services, and begin to record calls by instance."""
    service = context.get(SERVICE)
    service.balancer_type = RecordingLoadBalancer
    return [DiscoveryPage(service, context.config(DiscoveryConfig)).page()]


@hookimpl
def scalekit_filters(context: Context) -> Sequence[LayeredFilter]:
    """Return the filter that makes trace context and deadline of a request available to its calls."""
    return [LayeredFilter(Layer.RESOURCES, REQUEST_CONTEXT)]


@hookimpl
def scalekit_health(context: Context) -> Sequence[Check]:
    """Return the checks of source and registration; neither is critical, as the last known state stays in use."""
    service = context.get(SERVICE)
    checks = [Check("source", service.check_source, critical=False)]
    if context.config(DiscoveryConfig).service:
        checks.append(Check("registration", service.check_registration, critical=False))
    return checks


@hookimpl
def scalekit_commands(context: Context) -> Sequence[click.Command]:
    """Return ``scalekit discovery list`` and ``call``."""
    return commands(context)
