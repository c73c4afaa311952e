"""Wire the connection pool into the host."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import click

from scalekit import (
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
from scalekit.contracts import DATABASE, DATABASES, READ_ROUTER, SESSION, TABLE_OBSERVER, ReadRouter
from scalekit.pages import ConsolePage
from scalekit.telemetry import TELEMETRY, Instrument, instruments_in
from scalekit_pool import metrics, query_budget
from scalekit_pool.commands import commands
from scalekit_pool.config import PoolConfig
from scalekit_pool.diagnostics import pool_diagnostics
from scalekit_pool.factory import DatabaseFactory, verify_driver
from scalekit_pool.filters import RequestInfoFilter, session_of
from scalekit_pool.health import check_database, check_servers
from scalekit_pool.migrations.startup import BY_COMMAND, StartupMigrations, verify_migrations
from scalekit_pool.pages.database import database_page
from scalekit_pool.records import RECORDS, DatabaseRecords

MIGRATION: Key[StartupMigrations] = Key("startup migrations", plugin="pool")


@hookimpl
def scalekit_config() -> type[Table]:
    """Return the model of ``[plugins.pool]``."""
    return PoolConfig


@hookimpl
def scalekit_lifespan(context: Context) -> Lifespan:
    """Return the lifespan that keeps the database open while the application runs."""
    config = context.config(PoolConfig)

    def find_router() -> ReadRouter | None:
        return context.get(READ_ROUTER) if context.has(READ_ROUTER) else None  # plugin replica starts later

    @asynccontextmanager
    async def run() -> AsyncGenerator[None, None]:
        observer = context.get(TABLE_OBSERVER) if context.has(TABLE_OBSERVER) else None
        records = context.get(RECORDS) if context.has(RECORDS) else None
        factory = DatabaseFactory(config, context.get(TELEMETRY), observer, records, find_router)
        async with factory.open_any(config.addresses, "primary") as database:
            context.provide(DATABASE, database)
            context.provide(SESSION.source, lambda connection: session_of(database, connection))
            context.provide(DATABASES, factory)
            migration = StartupMigrations(config.migrations)
            context.provide(MIGRATION, migration)
            applies = config.migrate_on_start and not context.has(BY_COMMAND)
            async with migration.apply(database) if applies else nullcontext():
                yield

    def verify_service(_: object) -> None:
        if config.migrate_on_start:
            verify_migrations(config.migrations, config.dialect)

    provides = (DATABASE, DATABASES, SESSION.source, MIGRATION)
    return Lifespan(run, provides=provides, verify=lambda _: verify_driver(config), verify_service=verify_service)


@hookimpl
def scalekit_servers(context: Context) -> Sequence[ServerRequirement]:
    """Return the servers of the database."""
    config = context.config(PoolConfig)
    keys = [f"plugins.pool.urls[{index}]" for index in range(len(config.urls))] or ["plugins.pool.url"]
    urls = zip(config.urls or (config.url,), keys, strict=True)
    return [each for url, key in urls for each in required_server(url, key, "database")]


@hookimpl
def scalekit_diagnostics(context: Context) -> Sequence[Diagnostic]:
    """Return the diagnostics of the database server."""
    return pool_diagnostics(context)


@hookimpl
def scalekit_metrics(context: Context) -> Sequence[Instrument[Any]]:
    """Return the metrics of the pool."""
    return [*instruments_in(metrics), *instruments_in(query_budget)]


@hookimpl
def scalekit_pages(context: Context) -> Sequence[ConsolePage]:
    """Return the page of the databases."""
    records = context.shared(RECORDS, DatabaseRecords)
    return [database_page(context, records, context.config(PoolConfig).migrations)]


@hookimpl
def scalekit_filters(context: Context) -> Sequence[LayeredFilter]:
    """Return the filter that attaches the request to the context, and closes its session."""
    return [LayeredFilter(Layer.RESOURCES, RequestInfoFilter())]


@hookimpl
def scalekit_health(context: Context) -> Sequence[Check]:
    """Return the checks of the database, and of its servers when there are several."""

    async def check() -> None:
        await check_database(context.get(DATABASE))
        if error := context.get(MIGRATION).error:
            raise ConnectionError(error)

    async def check_timelines() -> None:
        check_servers(context.get(DATABASE))

    config = context.config(PoolConfig)
    checks = [Check("pool", check, timeout=float(config.connect_timeout))]
    return [*checks, Check("servers", check_timelines, critical=False)] if len(config.urls) > 1 else checks


@hookimpl
def scalekit_commands(context: Context) -> Sequence[click.Command]:
    """Return `scalekit pool migrate` and `scalekit pool alembic`."""
    return commands(context)
