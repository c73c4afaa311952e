"""How the pool joins the host."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import click

from scalekit import Check, Context, Key, Layer, LayeredFilter, Lifespan, Table, hookimpl
from scalekit.contracts import DATABASE, DATABASES, TABLE_OBSERVER
from scalekit.telemetry import TELEMETRY, Instrument, instruments_in
from scalekit_pool import metrics
from scalekit_pool.commands import commands
from scalekit_pool.config import PoolConfig
from scalekit_pool.factory import Opener, verify_driver
from scalekit_pool.filters import RequestOrigin
from scalekit_pool.health import probe, refuse_stale_servers
from scalekit_pool.migrations.startup import StartMigration

MIGRATION: Key[StartMigration] = Key("migration at the start", plugin="pool")


@hookimpl
def scalekit_config() -> type[Table]:
    """Return the model of ``[plugins.pool]``."""
    return PoolConfig


@hookimpl
def scalekit_lifespan(context: Context) -> Lifespan:
    """Return what keeps the database open while the application runs."""
    config = context.config(PoolConfig)

    @asynccontextmanager
    async def run() -> AsyncGenerator[None, None]:
        observer = context.get(TABLE_OBSERVER) if context.has(TABLE_OBSERVER) else None
        opener = Opener(config, context.get(TELEMETRY), observer)
        async with opener.open_any(config.addresses, "primary") as database:
            context.provide(DATABASE, database)
            context.provide(DATABASES, opener)
            migration = StartMigration(config.migrations)
            context.provide(MIGRATION, migration)
            async with migration.applied(database) if config.migrate_on_start else nullcontext():
                yield

    provides = (DATABASE, DATABASES, MIGRATION)
    return Lifespan(run, provides=provides, verify=lambda given: verify_driver(config))


@hookimpl
def scalekit_metrics(context: Context) -> Sequence[Instrument[Any]]:
    """Return what is counted."""
    return instruments_in(metrics)


@hookimpl
def scalekit_filters(context: Context) -> Sequence[LayeredFilter]:
    """Return what tells the pool for whom a connection is used."""
    return [LayeredFilter(Layer.RESOURCES, RequestOrigin())]


@hookimpl
def scalekit_health(context: Context) -> Sequence[Check]:
    """Tell whether the database can be written to."""

    async def check() -> None:
        await probe(context.get(DATABASE))
        if trouble := context.get(MIGRATION).trouble:
            raise ConnectionError(trouble)

    async def check_servers() -> None:
        refuse_stale_servers(context.get(DATABASE))

    config = context.config(PoolConfig)
    checks = [Check("pool", check, timeout=float(config.connect_timeout))]
    return [*checks, Check("servers", check_servers, critical=False)] if len(config.urls) > 1 else checks


@hookimpl
def scalekit_commands(context: Context) -> Sequence[click.Command]:
    """Return `scalekit pool migrate`."""
    return commands(context, context.config(PoolConfig).migrations)
