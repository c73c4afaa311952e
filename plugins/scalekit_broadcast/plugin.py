"""Hooks of the plugin ``broadcast``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Container, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import click

from scalekit import (
    WORKER_HUB,
    Check,
    Context,
    Diagnostic,
    HubLimits,
    Key,
    Lifespan,
    ServerRequirement,
    Severity,
    Table,
    hookimpl,
    required_server,
    separate_stores,
    warn_about_multiple_processes,
)
from scalekit.contracts import BROADCAST
from scalekit.pages import ConsolePage
from scalekit.telemetry import TELEMETRY, Instrument, instruments_in
from scalekit_broadcast import metrics
from scalekit_broadcast.broadcaster import Broadcaster, BroadcastLimits
from scalekit_broadcast.commands import build_commands
from scalekit_broadcast.config import BroadcastConfig
from scalekit_broadcast.event_stream import EVENT_STREAM_OPTIONS, EventStreamOptions
from scalekit_broadcast.memory_transport import open_memory_transport
from scalekit_broadcast.metrics import BroadcastMetrics
from scalekit_broadcast.pages import broadcast_page
from scalekit_broadcast.redis_transport import open_redis_transport
from scalekit_broadcast.transport import BroadcastTransport
from scalekit_redis import (
    RedisContents,
    RedisUse,
    redis_connections,
    redis_diagnostics,
    redis_instruments,
    verify_redis,
)


class RunningBroadcast:
    """The broadcaster of one application while its plugin runs."""

    broadcaster: Broadcaster | None = None


RUNNING: Key[RunningBroadcast] = Key("running broadcast", plugin="broadcast")


@hookimpl
def scalekit_config() -> type[Table]:
    """Return the model of ``[plugins.broadcast]``."""
    return BroadcastConfig


@hookimpl
def scalekit_lifespan(context: Context) -> Lifespan:
    """Return the lifespan of the broadcaster; it ends all subscriptions when the process drains."""
    config = context.config(BroadcastConfig)
    running = context.shared(RUNNING, RunningBroadcast)

    def verify(provided: Container[Key[Any]]) -> None:
        if not config.in_memory:
            verify_redis(config.url.reveal())

    @asynccontextmanager
    async def run() -> AsyncGenerator[None, None]:
        recorded = BroadcastMetrics(context.get(TELEMETRY))
        broadcaster = running.broadcaster = Broadcaster(_limits(config), recorded)
        async with _open_transport(context, config, broadcaster) as transport:
            broadcaster.use(transport)
            context.provide(BROADCAST, broadcaster)
            context.provide(EVENT_STREAM_OPTIONS, EventStreamOptions(config.keep_alive, config.retry))
            try:
                with recorded.export_gauges(broadcaster.count_subscribers, broadcaster.count_channels):
                    yield
            finally:
                broadcaster.close()
                running.broadcaster = None

    async def drain() -> None:
        if running.broadcaster is not None:
            running.broadcaster.end_subscriptions()

    return Lifespan(run, provides=(BROADCAST, EVENT_STREAM_OPTIONS), drain=drain, verify=verify)


@hookimpl
def scalekit_servers(context: Context) -> Sequence[ServerRequirement]:
    """Return the Redis of the channels."""
    return required_server(context.config(BroadcastConfig).url, "plugins.broadcast.url", "broadcast")


@hookimpl
def scalekit_diagnostics(context: Context) -> Sequence[Diagnostic]:
    """Return the diagnostic of the Redis of the channels, or of the memory."""
    url = context.config(BroadcastConfig).url
    if scalekit_servers(context):
        use = RedisUse("plugins.broadcast.url", "histories of channels", RedisContents.COUNTERS)
        return redis_diagnostics(context, url.reveal(), use)
    message = "a message reaches only the subscribers of one of them"
    return separate_stores(context, Severity.ERROR, message, "plugins.broadcast.url", "set url to a Redis")


@hookimpl
def scalekit_metrics(context: Context) -> Sequence[Instrument[Any]]:
    """Return the metrics of broadcasts and, when Redis is used, of its client."""
    config = context.config(BroadcastConfig)
    return [*instruments_in(metrics), *(() if config.in_memory else redis_instruments(config.url.reveal()))]


@hookimpl
def scalekit_health(context: Context) -> Sequence[Check]:
    """Return the check of Redis; the process also serves without it."""
    running = context.shared(RUNNING, RunningBroadcast)

    async def probe() -> None:
        if running.broadcaster is not None:
            await running.broadcaster.transport.check_health()

    return [] if context.config(BroadcastConfig).in_memory else [Check("broadcast", probe, critical=False)]


@hookimpl
def scalekit_pages(context: Context) -> Sequence[ConsolePage]:
    """Return the page of the broadcasts."""
    running = context.shared(RUNNING, RunningBroadcast)
    return [broadcast_page(lambda: running.broadcaster, str(context.config(BroadcastConfig).url))]


@hookimpl
def scalekit_commands(context: Context) -> Sequence[click.Command]:
    """Return the commands of the broadcast."""
    return build_commands(context)


def _open_transport(
    context: Context, config: BroadcastConfig, broadcaster: Broadcaster
) -> AbstractAsyncContextManager[BroadcastTransport]:
    if not config.in_memory:
        return open_redis_transport(redis_connections(context), broadcaster, config)
    warn_about_multiple_processes(
        context,
        "plugins.broadcast.url is memory:",
        "a message reaches only the subscribers in the process that publishes it",
        'set url = "redis://..."',
    )
    limits = HubLimits(config.history, float(config.history_ttl), int(config.history_size), config.max_channels)
    return open_memory_transport(context.get(WORKER_HUB), broadcaster, limits)


def _limits(config: BroadcastConfig) -> BroadcastLimits:
    return BroadcastLimits(
        history=config.history,
        history_ttl=config.history_ttl,
        max_message_size=config.max_message_size,
        max_channels=config.max_channels,
        max_subscribers=config.max_subscribers,
        subscribe_timeout=config.subscribe_timeout,
        disconnect_slow=config.slow_subscribers == "disconnect",
    )
