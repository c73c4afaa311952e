"""Hooks of the plugin ``idempotency``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Container, Sequence
from contextlib import asynccontextmanager
from typing import Any

import click

from scalekit import (
    IS_PLUGIN_REQUEST,
    Check,
    Context,
    Diagnostic,
    Key,
    Layer,
    LayeredFilter,
    Lifespan,
    ServerRequirement,
    Severity,
    Table,
    hookimpl,
    required_server,
    separate_stores,
)
from scalekit.contracts import DATABASE, TOKENS
from scalekit.telemetry import TELEMETRY, Instrument, instruments_in
from scalekit_idempotency import metrics
from scalekit_idempotency.cleanup import CleanUp
from scalekit_idempotency.commands import commands
from scalekit_idempotency.config import IdempotencyConfig
from scalekit_idempotency.factory import REMEDY, open_store, verify_store
from scalekit_idempotency.filters import IdempotencyFilter
from scalekit_idempotency.metrics import IdempotencyMetrics
from scalekit_redis import RedisContents, RedisUse, redis_diagnostics, redis_instruments

FILTER: Key[IdempotencyFilter] = Key("idempotency filter", plugin="idempotency")
CLEAN_UP: Key[CleanUp] = Key("clean-up of idempotency keys", plugin="idempotency")


@hookimpl
def scalekit_config() -> type[Table]:
    """Return the model of ``[plugins.idempotency]``."""
    return IdempotencyConfig


@hookimpl
def scalekit_lifespan(context: Context) -> Lifespan:
    """Return the lifespan that opens the store and cleans it up."""
    config = context.config(IdempotencyConfig)
    idempotency = _filter(context)

    def verify(provided: Container[Key[Any]]) -> None:
        verify_store(config, DATABASE in provided, context.server.workers or 1)

    @asynccontextmanager
    async def run() -> AsyncGenerator[None, None]:
        recorder = IdempotencyMetrics(context.get(TELEMETRY))
        async with open_store(config, context) as store, CleanUp(store, recorder) as clean_up:
            context.provide(CLEAN_UP, clean_up)
            idempotency.metrics, idempotency.store = recorder, store
            if context.has(IS_PLUGIN_REQUEST):
                idempotency.is_plugin_request = context.get(IS_PLUGIN_REQUEST)
            try:
                yield
            finally:
                idempotency.store = None

    return Lifespan(run, provides=(CLEAN_UP,), after=(DATABASE, TOKENS), verify=verify)


@hookimpl
def scalekit_filters(context: Context) -> Sequence[LayeredFilter]:
    """Return the filter, next to the application."""
    return [LayeredFilter(Layer.TRANSACTION, _filter(context))]


@hookimpl
def scalekit_servers(context: Context) -> Sequence[ServerRequirement]:
    """Return the Redis that stores the responses."""
    url = context.config(IdempotencyConfig).redis_url
    return required_server(url, "plugins.idempotency.redis_url", "idempotency keys")


@hookimpl
def scalekit_diagnostics(context: Context) -> Sequence[Diagnostic]:
    """Return the diagnostic of the Redis that stores the responses, or of the memory."""
    config = context.config(IdempotencyConfig)
    if config.redis_url is not None:
        use = RedisUse("plugins.idempotency.redis_url", "responses to idempotency keys", RedisContents.RECORDS)
        return redis_diagnostics(context, config.redis_url.reveal(), use)
    if config.store == "database":
        return []
    unless = None if config.store == "memory" else DATABASE
    message = "a request that is repeated at another one is executed again"
    return separate_stores(context, Severity.ERROR, message, "plugins.idempotency.store", REMEDY, unless=unless)


@hookimpl
def scalekit_metrics(context: Context) -> Sequence[Instrument[Any]]:
    """Return the metrics of requests with keys, and those of Redis when it is the store."""
    url = context.config(IdempotencyConfig).redis_url
    return [*instruments_in(metrics), *(() if url is None else redis_instruments(url.reveal()))]


@hookimpl
def scalekit_health(context: Context) -> Sequence[Check]:
    """Return the check of the store; without it requests with a key get 503, others are served."""

    async def check() -> None:
        await context.get(CLEAN_UP).check()

    return [Check("idempotency", check, critical=False)]


@hookimpl
def scalekit_commands(context: Context) -> Sequence[click.Command]:
    """Return `scalekit idempotency list` and `purge`."""
    return commands(context)


def _filter(context: Context) -> IdempotencyFilter:
    return context.shared(FILTER, lambda: IdempotencyFilter(context.config(IdempotencyConfig)))
