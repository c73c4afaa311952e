"""The queue's hooks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Container, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import click
from starlette.routing import BaseRoute

from scalekit import (
    REQUEST_CONTEXT,
    Check,
    Context,
    Diagnostic,
    Key,
    Layer,
    LayeredFilter,
    Lifespan,
    ServerRequirement,
    Table,
    hookimpl,
    required_server,
)
from scalekit.contracts import CACHE, CONSISTENCY_TOKENS, DATABASE, DURABLE_TASKS, LIMITS, QUEUE, READS, Database
from scalekit.pages import ConsolePage
from scalekit.telemetry import Instrument, instruments_in
from scalekit_queue import metrics
from scalekit_queue.activity import ACTIVITY
from scalekit_queue.asyncapi import asyncapi_command
from scalekit_queue.commands import commands
from scalekit_queue.config import QueueConfig
from scalekit_queue.diagnostics import queue_diagnostics
from scalekit_queue.factory import consumes, verify_config
from scalekit_queue.filters import TaskFilter
from scalekit_queue.job_commands import job_commands
from scalekit_queue.pages import queues_page
from scalekit_queue.pause_commands import pause_commands
from scalekit_queue.pause_page import pause_routes
from scalekit_queue.request_tasks import TaskPublisher, tasks_of
from scalekit_queue.running_queue import RunningQueue, registered
from scalekit_queue.schedule_commands import schedule_commands
from scalekit_queue.schedule_page import schedule_routes
from scalekit_queue.service import SERVICE, QueueService, open_queue_service

TASK_FILTER: Key[TaskFilter] = Key("filter of tasks", plugin="queue")


@hookimpl
def scalekit_config() -> type[Table]:
    """Return the model of ``[plugins.queue]``."""
    return QueueConfig


@hookimpl
def scalekit_lifespan(context: Context) -> Lifespan:
    """Return the lifespan that publishes while the application runs, and consumes once every plugin has started."""
    config = context.config(QueueConfig)

    @asynccontextmanager
    async def run() -> AsyncGenerator[None, None]:
        async with open_queue_service(config, context) as service:
            context.provide(QUEUE, service.publisher)
            context.provide(SERVICE, service)
            context.provide(DURABLE_TASKS.source, tasks_of)
            store = context.get(DATABASE) if _stores_in_transactions(config, context) else None
            queue = RunningQueue(service.publisher, service.stores, store, asyncio.get_running_loop())
            with _tasks(config, context, service, store), registered(queue):
                yield

    def verify(provided: Container[Key[Any]]) -> None:
        verify_config(config, context, provided)

    async def start() -> None:
        service = context.get(SERVICE)
        await service.start()
        if service.scheduler is not None and consumes(config, context):
            service.run_in_background(service.scheduler.run())
        if context.has(ACTIVITY):
            service.run_in_background(context.get(ACTIVITY).sample_periodically())

    async def stop_consuming() -> None:
        await context.get(SERVICE).stop_consuming()

    # The plugins that handlers use start before the consumers and stop after them.
    after = (DATABASE, READS, CONSISTENCY_TOKENS, CACHE, LIMITS)
    provides = (QUEUE, SERVICE, DURABLE_TASKS.source)
    return Lifespan(run, provides=provides, after=after, ready=start, drain=stop_consuming, verify=verify)


@hookimpl
def scalekit_servers(context: Context) -> Sequence[ServerRequirement]:
    """Return the server of the messages."""
    return required_server(context.config(QueueConfig).url, "plugins.queue.url", "queue")


@hookimpl
def scalekit_diagnostics(context: Context) -> Sequence[Diagnostic]:
    """Return the diagnostics of the transport."""
    return queue_diagnostics(context)


@hookimpl
def scalekit_metrics(context: Context) -> Sequence[Instrument[Any]]:
    """Return the metrics that this configuration records."""
    config = context.config(QueueConfig)
    unused = [] if config.consumers else [*metrics.CONSUMER_METRICS]
    if not config.has_schedules:
        unused += metrics.SCHEDULE_METRICS
    return [each for each in instruments_in(metrics) if each not in unused]


@hookimpl
def scalekit_filters(context: Context) -> Sequence[LayeredFilter]:
    """Return the filter that makes trace context and deadline available to the publisher, and that of the tasks."""
    filters = [LayeredFilter(Layer.RESOURCES, REQUEST_CONTEXT)]
    if context.config(QueueConfig).load().tasks:
        # Filters of one layer are sorted by plugin: this one is inside of the transaction of the plugin idempotency.
        filters.append(LayeredFilter(Layer.TRANSACTION, context.shared(TASK_FILTER, TaskFilter)))
    return filters


@hookimpl
def scalekit_routes(context: Context) -> Sequence[BaseRoute]:
    """Return the operator pages of paused consumers and of schedules."""
    return [*pause_routes(context, context.config(QueueConfig)), *schedule_routes(context)]


@hookimpl
def scalekit_health(context: Context) -> Sequence[Check]:
    """Return the check of the transport; it is critical only in a process that serves no requests."""

    async def check() -> None:
        if error := context.get(SERVICE).last_error:
            raise RuntimeError(error)

    return [Check("queue", check, critical=context.server.role == "worker")]


@hookimpl
def scalekit_pages(context: Context) -> Sequence[ConsolePage]:
    """Return the page of the queues."""
    return [queues_page(context, context.config(QueueConfig))]


@hookimpl
def scalekit_commands(context: Context) -> Sequence[click.Command]:
    """Return the commands of messages, of jobs, of pauses and of schedules, and `scalekit queue asyncapi`."""
    config = context.config(QueueConfig)
    return [
        *commands(context),
        *job_commands(context),
        *pause_commands(context),
        *schedule_commands(context),
        asyncapi_command(context, config),
    ]


@contextmanager
def _tasks(
    config: QueueConfig, context: Context, service: QueueService, database: Database | None
) -> Generator[None, None, None]:
    """Take tasks of requests while inside; they join transactions of *database*."""
    publisher = TaskPublisher(config.load().tasks, service.publisher, database, config.max_body)
    task_filter = context.shared(TASK_FILTER, TaskFilter)
    task_filter.publisher = publisher
    try:
        yield
    finally:
        task_filter.publisher = None


def _stores_in_transactions(config: QueueConfig, context: Context) -> bool:
    return (config.outbox or config.uses_pool) and context.has(DATABASE)
