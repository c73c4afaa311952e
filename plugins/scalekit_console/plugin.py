"""Hooks of the plugin ``console``."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from starlette.routing import BaseRoute

from scalekit import Context, Key, Layer, LayeredFilter, Lifespan, Redactor, Table, hookimpl
from scalekit.contracts import KEPT_TRACES
from scalekit.pages import CONSOLE, ConsolePage
from scalekit.telemetry import SpanRedactor
from scalekit_console.config import ConsoleConfig
from scalekit_console.console import ConsoleServer
from scalekit_console.explain import explain_action
from scalekit_console.index import index_page
from scalekit_console.overview import overview_page
from scalekit_console.recent_traces import RecentTraces
from scalekit_console.request_sampler import RequestSampler
from scalekit_console.requests_page import RequestsPage
from scalekit_console.routes import console_routes
from scalekit_console.sampler import WorkerSampler
from scalekit_console.span_formatter import SpanFormatter

logger = logging.getLogger("scalekit.console")

SERIES_BUDGET = 200
"""Series of a metric that pages of plugins can read, when no other plugin exports metrics."""
SAMPLER: Key[WorkerSampler] = Key("sampler", plugin="console")
TRACES: Key[RecentTraces] = Key("recent traces", plugin="console")
SERVER: Key[ConsoleServer] = Key("console server", plugin="console")


@hookimpl
def scalekit_config() -> type[Table]:
    """Return the model of ``[plugins.console]``."""
    return ConsoleConfig


@hookimpl
def scalekit_lifespan(context: Context) -> Lifespan:
    """Return the lifespan of the sampler and of live pages."""

    @asynccontextmanager
    async def run() -> AsyncGenerator[None, None]:
        server = _server(context)
        server.feeds.resume()
        context.provide(CONSOLE, server)
        async with _sampler(context).running():
            yield

    async def drain() -> None:
        _server(context).feeds.drain()

    return Lifespan(run, provides=(CONSOLE,), drain=drain, series_budget=SERIES_BUDGET, shows_pages=True)


@hookimpl
def scalekit_pages(context: Context) -> Sequence[ConsolePage]:
    """Return the index, the overview and the requests, whose traces are kept from now on."""
    formatter = SpanFormatter(SpanRedactor(Redactor(redact_configured=context.redact)))
    sampler, traces = _sampler(context), context.shared(TRACES, lambda: RecentTraces(formatter))
    context.shared(KEPT_TRACES, lambda: traces)
    explain = explain_action(context, formatter)
    requests = RequestsPage(context, sampler.requests, traces).page([explain])
    return [index_page(context, context.config(ConsoleConfig)), overview_page(sampler), requests]


@hookimpl
def scalekit_filters(context: Context) -> Sequence[LayeredFilter]:
    """Return the filter that counts all requests, rejected ones included."""
    return [LayeredFilter(Layer.LOG, _sampler(context).requests)]


@hookimpl
def scalekit_routes(context: Context) -> Sequence[BaseRoute]:
    """Return the routes of all pages and actions, none without operators."""
    server = context.server
    if not server.has_operators:
        logger.warning(
            "the console has no pages, since there are no operators: set server.operator_networks, "
            "server.operator_token or server.management_address"
        )
        return []
    return console_routes(_server(context), mcp=context.config(ConsoleConfig).mcp)


def _sampler(context: Context) -> WorkerSampler:
    return context.shared(SAMPLER, lambda: WorkerSampler(RequestSampler()))


def _server(context: Context) -> ConsoleServer:
    return context.shared(SERVER, lambda: ConsoleServer(context, context.config(ConsoleConfig)))
