"""How the queue joins the host."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Container, Sequence
from contextlib import asynccontextmanager
from typing import Any

import click

from scalekit import REQUEST_CONTEXT, Check, Context, Key, Layer, LayeredFilter, Lifespan, Table, hookimpl
from scalekit.contracts import CACHE, CONSISTENCY_TOKENS, DATABASE, QUEUE, READS
from scalekit.telemetry import Instrument, instruments_in
from scalekit_queue import metrics
from scalekit_queue.commands import commands
from scalekit_queue.config import QueueConfig
from scalekit_queue.service import QueueService, open_queue_service, verify_config

RUNNING: Key[QueueService] = Key("running queue", plugin="queue")


@hookimpl
def scalekit_config() -> type[Table]:
    """Return the model of ``[plugins.queue]``."""
    return QueueConfig


@hookimpl
def scalekit_lifespan(context: Context) -> Lifespan:
    """Return what publishes while the application runs, and consumes once all has started."""
    config = context.config(QueueConfig)

    @asynccontextmanager
    async def run() -> AsyncGenerator[None, None]:
        async with open_queue_service(config, context) as queue:
            context.provide(QUEUE, queue.client)
            context.provide(RUNNING, queue)
            yield

    def verify(given: Container[Key[Any]]) -> None:
        verify_config(config, context, DATABASE in given)

    async def begin() -> None:
        await context.get(RUNNING).begin()

    async def pause() -> None:
        await context.get(RUNNING).pause()

    # What handlers may ask for starts before them, and stops after them.
    used = (DATABASE, READS, CONSISTENCY_TOKENS, CACHE)
    return Lifespan(run, provides=(QUEUE, RUNNING), after=used, ready=begin, drain=pause, verify=verify)


@hookimpl
def scalekit_metrics(context: Context) -> Sequence[Instrument[Any]]:
    """Return what is counted."""
    silent = () if context.config(QueueConfig).consumers else metrics.OF_CONSUMERS
    return [each for each in instruments_in(metrics) if each not in silent]


@hookimpl
def scalekit_filters(context: Context) -> Sequence[LayeredFilter]:
    """Return what lets messages carry the identity and the deadline of the request that publishes them."""
    return [LayeredFilter(Layer.RESOURCES, REQUEST_CONTEXT)]


@hookimpl
def scalekit_health(context: Context) -> Sequence[Check]:
    """Tell whether messages can be published and are consumed; a process that serves requests goes on without."""

    async def check() -> None:
        if trouble := context.get(RUNNING).trouble:
            raise RuntimeError(trouble)

    return [Check("queue", check, critical=context.server.role == "worker")]


@hookimpl
def scalekit_commands(context: Context) -> Sequence[click.Command]:
    """Return `scalekit queue list`, `peek`, `dead`, `replay` and `purge`."""
    return commands(context.config(QueueConfig))
