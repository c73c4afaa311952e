"""How replicas join the host."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from scalekit import Check, Context, Key, Layer, LayeredFilter, Lifespan, Table, hookimpl
from scalekit.contracts import CONSISTENCY_TOKENS, DATABASE, DATABASES, READS
from scalekit.telemetry import TELEMETRY, Instrument, instruments_in
from scalekit_replica import metrics
from scalekit_replica.config import ReplicaConfig
from scalekit_replica.factory import Replicated, replicated
from scalekit_replica.filters import ConsistencyFilter
from scalekit_replica.read_database import Reads

REPLICATED: Key[Replicated] = Key("replicas", plugin="replica")


@hookimpl
def scalekit_config() -> type[Table]:
    """Return the model of ``[plugins.replica]``."""
    return ReplicaConfig


@hookimpl
def scalekit_lifespan(context: Context) -> Lifespan:
    """Return what keeps the replicas open and looked at while the application runs."""
    config = context.config(ReplicaConfig)

    @asynccontextmanager
    async def alone() -> AsyncGenerator[None, None]:
        context.provide(READS, Reads(context.get(DATABASE)))
        yield

    @asynccontextmanager
    async def run() -> AsyncGenerator[None, None]:
        opened = replicated(config, context.get(DATABASE), context.get(DATABASES), context.get(TELEMETRY))
        async with opened as replicas:
            context.provide(READS, replicas.reads)
            context.provide(CONSISTENCY_TOKENS, replicas.tokens)
            context.provide(REPLICATED, replicas)
            yield

    if not config.urls:
        return Lifespan(alone, provides=(READS,), requires=(DATABASE,))
    return Lifespan(run, provides=(READS, CONSISTENCY_TOKENS, REPLICATED), requires=(DATABASE, DATABASES))


@hookimpl
def scalekit_metrics(context: Context) -> Sequence[Instrument[Any]]:
    """Return what is counted, where there are replicas."""
    return instruments_in(metrics) if context.config(ReplicaConfig).urls else []


@hookimpl
def scalekit_filters(context: Context) -> Sequence[LayeredFilter]:
    """Return what reads and issues tokens, where there are replicas."""
    config = context.config(ReplicaConfig)
    if not config.urls:
        return []

    return [LayeredFilter(Layer.RESOURCES, ConsistencyFilter(lambda: context.get(REPLICATED).tokens, config.lifetime))]


@hookimpl
def scalekit_health(context: Context) -> Sequence[Check]:
    """Return one check for each replica; the primary stands in for one that fails, so none is critical."""

    async def check(name: str) -> None:
        context.get(REPLICATED).refuse_trouble(name)

    names = context.config(ReplicaConfig).names
    return [Check(name, partial(check, name), critical=False) for name in names]
