"""Hooks of the plugin ``logging``."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from scalekit import WORKER, Check, Context, Key, Layer, LayeredFilter, Lifespan, Table, hookimpl
from scalekit.contracts import LATEST_LOG_LINES, LOG_LEVEL_OVERRIDES
from scalekit.pages import ConsolePage
from scalekit.telemetry import TELEMETRY, Instrument, instruments_in
from scalekit_logging import metrics
from scalekit_logging.config import LoggingConfig
from scalekit_logging.filters import AccessLogFilter
from scalekit_logging.latest_lines import LatestLines
from scalekit_logging.metrics import LoggingMetrics
from scalekit_logging.pages import logs_page
from scalekit_logging.pipeline import LogPipeline, verify_directory
from scalekit_logging.setup import PipelineLevels, install, remove

PIPELINE: Key[LogPipeline] = Key("pipeline", plugin="logging")


@hookimpl
def scalekit_config() -> type[Table]:
    """Return the model of ``[plugins.logging]``."""
    return LoggingConfig


@hookimpl
def scalekit_lifespan(context: Context) -> Lifespan:
    """Return the lifespan of the log pipeline of this process."""
    pipeline = _pipeline(context)

    @asynccontextmanager
    async def run() -> AsyncGenerator[None, None]:
        if context.has(WORKER) and (worker := context.get(WORKER)):
            pipeline.formatter.set_worker(int(worker), os.getpid())
        pipeline.start(LoggingMetrics(context.get(TELEMETRY)))
        install(pipeline)
        try:
            with context.get(LOG_LEVEL_OVERRIDES).applied_to(PipelineLevels(pipeline)):
                yield
        finally:
            remove(pipeline)
            await asyncio.to_thread(pipeline.stop)

    async def drain() -> None:
        pipeline.draining = True

    return Lifespan(run, drain=drain, outermost=True, verify=lambda _: verify_directory(context.config(LoggingConfig)))


@hookimpl
def scalekit_metrics(context: Context) -> Sequence[Instrument[Any]]:
    """Return the metrics of the log."""
    return instruments_in(metrics)


@hookimpl
def scalekit_pages(context: Context) -> Sequence[ConsolePage]:
    """Return the page of the latest lines, which are kept from now on."""
    lines = _pipeline(context).latest_lines = LatestLines()
    context.provide(LATEST_LOG_LINES, lines)
    return [logs_page(lines)]


@hookimpl
def scalekit_filters(context: Context) -> Sequence[LayeredFilter]:
    """Return the access log filter; it is outermost, so that rejected requests are logged too."""
    return [LayeredFilter(Layer.LOG, AccessLogFilter(_pipeline(context)))]


@hookimpl
def scalekit_health(context: Context) -> Sequence[Check]:
    """Return the check that fails while lines are being lost."""
    pipeline = _pipeline(context)

    async def probe() -> None:
        if error := pipeline.error():
            raise RuntimeError(f"log lines are being lost: {error}")

    return [Check("logging", probe, critical=False, timeout=1.0)]


def _pipeline(context: Context) -> LogPipeline:
    """Return the pipeline of this application, shared by all hooks."""
    return context.shared(PIPELINE, lambda: LogPipeline(context.config(LoggingConfig), context.redact))
