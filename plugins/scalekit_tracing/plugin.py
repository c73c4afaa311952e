"""Hooks of the plugin ``tracing``."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from scalekit import (
    Check,
    Context,
    Diagnostic,
    Filter,
    Finding,
    Key,
    Layer,
    LayeredFilter,
    Lifespan,
    OperatorAccess,
    ServerRequirement,
    Severity,
    Table,
    hookimpl,
)
from scalekit.contracts import TRACER
from scalekit.telemetry import Instrument, SpanRedactor, instruments_in
from scalekit_tracing import metrics
from scalekit_tracing.config import TracingConfig
from scalekit_tracing.explain import ExplainFilter
from scalekit_tracing.factory import Tracing, create_tracing, redactor_of, verify
from scalekit_tracing.filters import TracingFilter
from scalekit_tracing.opentelemetry.registration import register_provider
from scalekit_tracing.otlp.endpoint import endpoint_of, exports_spans
from scalekit_tracing.server_timing import ServerTimingFilter

CONNECT_TIMEOUT = 3.0
"""Seconds for a connection to the collector, by `scalekit doctor`."""
TRACING: Key[Tracing] = Key("tracing", plugin="tracing")


@hookimpl
def scalekit_config() -> type[Table]:
    """Return the model of ``[plugins.tracing]``."""
    return TracingConfig


@hookimpl
def scalekit_lifespan(context: Context) -> Lifespan:
    """Return the lifespan of the exporter of this process; it stops last, so that it exports what the others record."""

    @asynccontextmanager
    async def run() -> AsyncGenerator[None, None]:
        tracing = _tracing(context)
        tracing.start(os.environ)
        context.provide(TRACER, tracing.tracer)
        try:
            yield
        finally:
            await asyncio.to_thread(tracing.stop, context.server.stop_timeout * FINAL_SHARE)

    async def ready() -> None:
        if context.config(TracingConfig).opentelemetry_api:
            register_provider()

    return Lifespan(run, provides=(TRACER,), outermost=True, ready=ready, verify=lambda _: verify(context, os.environ))


@hookimpl
def scalekit_servers(context: Context) -> Sequence[ServerRequirement]:
    """Return the collector of traces, which is on this machine by default."""
    if context.config(TracingConfig).exporter == "none":
        return []
    return [ServerRequirement("otlp", "plugins.tracing.endpoint", "traces")]


@hookimpl
def scalekit_diagnostics(context: Context) -> Sequence[Diagnostic]:
    """Return the diagnostic of the collector of traces, whose health is not known before the first trace is sent."""
    config = context.config(TracingConfig)

    async def probe() -> Sequence[Finding]:
        if not exports_spans(config, os.environ):
            return []
        parts = endpoint_of(config, os.environ).parts
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                _, writer = await asyncio.open_connection(parts.host, port)
        except OSError as error:
            reason = str(error) or f"no connection within {CONNECT_TIMEOUT:g}s"
            message = f"the collector of traces at {parts.host}:{port} is unavailable: {reason}"
            remedy = "start the collector, or correct endpoint in [plugins.tracing]"
            return [Finding("server-unavailable", Severity.WARNING, message, remedy, "plugins.tracing.endpoint")]
        writer.close()
        return []

    return [Diagnostic("collector of traces", probe)]


@hookimpl
def scalekit_metrics(context: Context) -> Sequence[Instrument[Any]]:
    """Return the metrics of tracing."""
    return instruments_in(metrics)


@hookimpl
def scalekit_filters(context: Context) -> Sequence[LayeredFilter]:
    """Return the filter that records requests, refused ones included, and those that show the spans to operators."""
    config = context.config(TracingConfig)
    token = context.server.operator_token
    parents = OperatorAccess(config.sampling.parent_networks, token)
    tracing = TracingFilter(_tracing(context).tracer, parents, client_address=config.client_address)
    access = OperatorAccess(context.server.operator_networks, token)
    filters: list[Filter] = [tracing]
    if config.server_timing != "off":
        filters.append(ServerTimingFilter(access, traces_for_all=config.server_timing == "trace"))
    if config.explain:
        filters.append(ExplainFilter(access, SpanRedactor(redactor_of(context))))
    return [LayeredFilter(Layer.TRACE, each) for each in filters]


@hookimpl
def scalekit_health(context: Context) -> Sequence[Check]:
    """Return the check that fails while spans or errors cannot be sent."""

    async def probe() -> None:
        if error := _tracing(context).error():
            raise RuntimeError(f"not sent: {error}")

    return [Check("tracing", probe, critical=False, timeout=1.0)]


def _tracing(context: Context) -> Tracing:
    """Return the tracing of this application, shared by all hooks."""
    return context.shared(TRACING, lambda: create_tracing(context))


FINAL_SHARE = 0.5
"""Share of ``server.stop_timeout`` in which the exporter sends what is queued."""
