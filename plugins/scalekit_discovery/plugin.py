"""How discovery joins the host."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Container, Sequence
from contextlib import asynccontextmanager
from typing import Any

import click

from scalekit import REQUEST_CONTEXT, Check, Context, Key, Layer, LayeredFilter, Lifespan, Table, hookimpl
from scalekit.contracts import SERVICES
from scalekit.telemetry import Instrument, instruments_in
from scalekit_discovery import metrics
from scalekit_discovery.commands import commands
from scalekit_discovery.config import DiscoveryConfig
from scalekit_discovery.factory import verify_source
from scalekit_discovery.service import DiscoveryService

RUNNING: Key[DiscoveryService] = Key("discovery", plugin="discovery")


@hookimpl
def scalekit_config() -> type[Table]:
    """Return the model of ``[plugins.discovery]``."""
    return DiscoveryConfig


@hookimpl
def scalekit_lifespan(context: Context) -> Lifespan:
    """Return what follows services, and registers this one once it is ready."""
    running = DiscoveryService(context)
    context.provide(RUNNING, running)

    def verify(given: Container[Key[Any]]) -> None:
        verify_source(context.config(DiscoveryConfig))

    @asynccontextmanager
    async def run() -> AsyncGenerator[None, None]:
        async with running.open() as services:
            context.provide(SERVICES, services)
            yield

    return Lifespan(run, provides=(SERVICES,), ready=running.begin, drain=running.drain, verify=verify)


@hookimpl
def scalekit_metrics(context: Context) -> Sequence[Instrument[Any]]:
    """Return what is counted."""
    alone = [] if context.config(DiscoveryConfig).service else [metrics.REGISTERED]
    return [each for each in instruments_in(metrics) if each not in alone]


@hookimpl
def scalekit_filters(context: Context) -> Sequence[LayeredFilter]:
    """Return what lets calls carry the identity and the deadline of the request on whose behalf they are made."""
    return [LayeredFilter(Layer.RESOURCES, REQUEST_CONTEXT)]


@hookimpl
def scalekit_health(context: Context) -> Sequence[Check]:
    """Return whether the source answers, and this instance is registered; what was known stands in for both."""
    config = context.config(DiscoveryConfig)
    running = context.get(RUNNING)
    checks = [Check("source", running.check_source, critical=False)]
    if config.service:
        checks.append(Check("registration", running.check_registration, critical=False))
    return checks


@hookimpl
def scalekit_commands(context: Context) -> Sequence[click.Command]:
    """Return ``scalekit discovery list`` and ``call``."""
    return commands(context)
