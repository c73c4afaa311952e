"""The hooks of the plugin visits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import click
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from scalekit import (
    Check,
    Context,
    Diagnostic,
    Finding,
    Layer,
    LayeredFilter,
    Lifespan,
    ManagementRoute,
    Middleware,
    ServerRequirement,
    Severity,
    Table,
    hookimpl,
)
from scalekit.pages import Block, Column, ConsolePage, DataTable, PageView
from scalekit.telemetry import TELEMETRY, Gauge, Instrument
from scalekit_visits.config import VisitsConfig
from scalekit_visits.counter import Counter
from scalekit_visits.keys import VISITS
from scalekit_visits.middleware import VisitsMiddleware

NAMES = Gauge("scalekit_visits_names", "Names that were seen.")


@hookimpl
def scalekit_config() -> type[Table]:
    return VisitsConfig


@hookimpl
def scalekit_lifespan(context: Context) -> Lifespan:
    @asynccontextmanager
    async def run() -> AsyncGenerator[None, None]:
        visits = Counter(context.config(VisitsConfig).limit)
        context.provide(VISITS, visits)
        names = context.get(TELEMETRY).series(NAMES)
        with context.get(TELEMETRY).on_collect(lambda: names.set(visits.size)):
            yield

    return Lifespan(run, provides=(VISITS,))


@hookimpl
def scalekit_filters(context: Context) -> Sequence[LayeredFilter]:
    header = context.config(VisitsConfig).header
    return [LayeredFilter(Layer.RESOURCES, Middleware(VisitsMiddleware, context, header))]


@hookimpl
def scalekit_routes(context: Context) -> Sequence[BaseRoute]:
    async def top(request: Request) -> Response:
        return JSONResponse(VISITS(request).top(10))

    async def of_one(request: Request) -> Response:
        return JSONResponse(dict(VISITS(request).top(10)).get(request.path_params["name"], 0))

    return [ManagementRoute("/-/visits", top), Route("/visits/{name}", of_one)]


@hookimpl
def scalekit_health(context: Context) -> Sequence[Check]:
    async def probe() -> None:
        context.get(VISITS).check()

    return [Check("table", probe, critical=False, timeout=1.0)]


@hookimpl
def scalekit_commands(context: Context) -> Sequence[click.Command]:
    @click.command()
    @click.argument("name")
    def count(name: str) -> None:
        """Count one visit of NAME in the table of this process."""
        click.echo(asyncio.run(_count(context, name)))

    return [count]


async def _count(context: Context, name: str) -> int:
    async with context.started():
        return context.get(VISITS).add(name)


@hookimpl
def scalekit_pages(context: Context) -> Sequence[ConsolePage]:
    async def collect(query: Mapping[str, str]) -> list[tuple[str, int]]:
        return context.get(VISITS).top(10)

    async def render(view: PageView) -> Sequence[Block]:
        rows = [(worker, name, count) for worker, names in view.workers.items() for name, count in names]
        return [DataTable((Column("worker"), Column("name"), Column("visits")), rows, "Names")]

    return [ConsolePage("names", "Names", render, collect, description="The names seen most often.")]


@hookimpl
def scalekit_metrics(context: Context) -> Sequence[Instrument[Any]]:
    return [NAMES]


@hookimpl
def scalekit_servers(context: Context) -> Sequence[ServerRequirement]:
    return []  # the table is in memory


@hookimpl
def scalekit_diagnostics(context: Context) -> Sequence[Diagnostic]:
    async def probe() -> Sequence[Finding]:
        limit = context.config(VisitsConfig).limit
        if limit >= 10:
            return []
        remedy = "raise limit in [plugins.visits]"
        return [Finding("visits-limit", Severity.ADVICE, "few names fit", remedy, "plugins.visits.limit", str(limit))]

    return [Diagnostic("visits", probe)]
