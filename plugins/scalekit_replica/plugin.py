"""Wire the replicas into the host."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from scalekit import (
    Check,
    Context,
    Diagnostic,
    Finding,
    Key,
    Layer,
    LayeredFilter,
    Lifespan,
    ServerRequirement,
    Severity,
    Table,
    hookimpl,
    required_server,
)
from scalekit.contracts import CONSISTENCY_TOKENS, DATABASE, DATABASES, READ_ROUTER, READS, REPLICAS
from scalekit.telemetry import TELEMETRY, Instrument, instruments_in
from scalekit_replica import metrics
from scalekit_replica.config import ReplicaConfig
from scalekit_replica.factory import ReplicaSet, open_replicas
from scalekit_replica.filters import ConsistencyFilter
from scalekit_replica.read_database import ReadDatabase

REPLICATION = """
SELECT current_setting('wal_level'), CAST(current_setting('max_wal_senders') AS integer),
  CAST((SELECT count(*) FROM pg_stat_replication) AS integer)
"""
REPLICA_SET: Key[ReplicaSet] = Key("replica set", plugin="replica")


@hookimpl
def scalekit_config() -> type[Table]:
    """Return the model of ``[plugins.replica]``."""
    return ReplicaConfig


@hookimpl
def scalekit_lifespan(context: Context) -> Lifespan:
    """Return the lifespan that keeps the replicas open and monitored while the application runs."""
    config = context.config(ReplicaConfig)

    @asynccontextmanager
    async def primary_only() -> AsyncGenerator[None, None]:
        context.provide(READS, ReadDatabase(context.get(DATABASE)))
        yield

    @asynccontextmanager
    async def run() -> AsyncGenerator[None, None]:
        opened = open_replicas(config, context.get(DATABASE), context.get(DATABASES), context.get(TELEMETRY))
        async with opened as replicas:
            context.provide(READS, replicas.reads)
            context.provide(READ_ROUTER, replicas.reads)
            context.provide(CONSISTENCY_TOKENS, replicas.tokens)
            context.provide(REPLICA_SET, replicas)
            context.provide(REPLICAS, replicas)
            yield

    if not config.urls:
        return Lifespan(primary_only, provides=(READS,), requires=(DATABASE,))
    provides = (READS, READ_ROUTER, CONSISTENCY_TOKENS, REPLICAS, REPLICA_SET)
    return Lifespan(run, provides=provides, requires=(DATABASE, DATABASES))


@hookimpl
def scalekit_servers(context: Context) -> Sequence[ServerRequirement]:
    """Return the replicas."""
    urls = enumerate(context.config(ReplicaConfig).urls)
    return [
        each
        for index, url in urls
        for each in required_server(url, f"plugins.replica.urls[{index}]", "reads", replica=True)
    ]


@hookimpl
def scalekit_diagnostics(context: Context) -> Sequence[Diagnostic]:
    """Return the diagnostic of the primary's replication."""
    config = context.config(ReplicaConfig)

    async def probe() -> Sequence[Finding]:
        database = context.get(DATABASE)
        if not config.urls or database.dialect != "postgresql":
            return []
        level, senders, connected = tuple((await database.fetch_all(REPLICATION))[0])
        return list(replication_findings(level, senders, connected, len(config.urls)))

    return [Diagnostic("replication", probe)]


@hookimpl
def scalekit_metrics(context: Context) -> Sequence[Instrument[Any]]:
    """Return the metrics of the replicas, if there are any."""
    return instruments_in(metrics) if context.config(ReplicaConfig).urls else []


@hookimpl
def scalekit_filters(context: Context) -> Sequence[LayeredFilter]:
    """Return the filter that reads and issues tokens, if there are replicas."""
    config = context.config(ReplicaConfig)
    if not config.urls:
        return []

    return [
        LayeredFilter(Layer.RESOURCES, ConsistencyFilter(lambda: context.get(REPLICA_SET).tokens, config.token_ttl))
    ]


@hookimpl
def scalekit_health(context: Context) -> Sequence[Check]:
    """Return one check for each replica; none is critical, since the primary replaces a failed replica."""

    async def check(name: str) -> None:
        context.get(REPLICA_SET).check(name)

    names = context.config(ReplicaConfig).names
    return [Check(name, partial(check, name), critical=False) for name in names]


def replication_findings(level: str, senders: int, connected: int, replicas: int) -> Iterator[Finding]:
    """Yield whether the WAL *level*, the *senders* or the *connected* standbys are too few for *replicas*."""
    if level == "minimal":
        yield _finding("no standby can follow the primary", "wal_level", level, "replica")
        return
    if connected < replicas:
        yield Finding(
            "replication",
            Severity.WARNING,
            f"{connected} standbys receive WAL from the primary, and urls names {replicas}: the others are stale",
            "look into their logs: they may have lost their slot, or the primary the WAL that they need",
            "pg_stat_replication",
            str(connected),
        )
    if senders <= replicas:
        message = f"the primary serves {senders} standbys at a time, which leaves none for a backup or a new standby"
        yield _finding(message, "max_wal_senders", str(senders), str(replicas + 5))


def _finding(message: str, key: str, value: str, better: str) -> Finding:
    remedy = f"set {key} = {better} on the primary, and restart it"
    return Finding("replication", Severity.WARNING, message, remedy, key, value)
