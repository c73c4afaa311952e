"""Hooks of the cluster cache."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Container, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import click

from scalekit import (
    Check,
    ConfigError,
    Context,
    Diagnostic,
    Key,
    Lifespan,
    Problem,
    ServerRequirement,
    Severity,
    Table,
    hookimpl,
    separate_stores,
)
from scalekit.contracts import CLUSTER_CACHE, CLUSTER_STORE
from scalekit.telemetry import TELEMETRY, Instrument
from scalekit_caching import CachingMetrics, ItemCodec, MemoryStore, Store, TieredStore, ValueCache
from scalekit_cluster_cache.cluster_store import open_cluster_store
from scalekit_cluster_cache.commands import commands
from scalekit_cluster_cache.config import ClusterCacheConfig
from scalekit_redis import (
    RedisContents,
    RedisUse,
    redis_connections,
    redis_diagnostics,
    redis_instruments,
    verify_redis,
)


@hookimpl
def scalekit_config() -> type[Table]:
    """Return the model of ``[plugins.cluster-cache]``."""
    return ClusterCacheConfig


@hookimpl
def scalekit_lifespan(context: Context) -> Lifespan:
    """Return the lifespan of the cache."""
    config = context.config(ClusterCacheConfig)

    def verify(provided: Container[Key[Any]]) -> None:
        _check_workers(config, context.server.workers or 1)
        if config.nodes:
            verify_redis(config.url)

    @asynccontextmanager
    async def run() -> AsyncGenerator[None, None]:
        metrics = CachingMetrics(context.get(TELEMETRY), "cluster-cache")
        async with AsyncExitStack() as stack:
            local = MemoryStore(config.memory_size)
            stack.enter_context(metrics.export_memory(local.statistics))
            store: Store = local
            if config.nodes:
                shared_store = await stack.enter_async_context(open_cluster_store(context, config))
                context.provide(CLUSTER_STORE, shared_store)
                store = tiered = TieredStore(
                    local, shared_store, ItemCodec(), metrics, time.time, disconnected_ttl=config.disconnected_ttl
                )
                await stack.enter_async_context(tiered.running())
            context.provide(CLUSTER_CACHE, ValueCache(store, metrics, time.time, config.coalesce_timeout))
            yield

    provides = (CLUSTER_CACHE, CLUSTER_STORE) if config.nodes else (CLUSTER_CACHE,)
    return Lifespan(run, provides=provides, verify=verify)


@hookimpl
def scalekit_servers(context: Context) -> Sequence[ServerRequirement]:
    """Return the seed nodes of the cluster."""
    if not context.config(ClusterCacheConfig).nodes:
        return []
    return [ServerRequirement("redis-cluster", "plugins.cluster-cache.nodes", "cache", "{host}:{port}")]


@hookimpl
def scalekit_diagnostics(context: Context) -> Sequence[Diagnostic]:
    """Return the diagnostic of the cluster, or of the memory."""
    config = context.config(ClusterCacheConfig)
    key = "plugins.cluster-cache.nodes"
    if config.nodes:
        return redis_diagnostics(context, config.url, RedisUse(key, "values of the cache", RedisContents.CACHE))
    message = "each caches values by itself, and a purge reaches one of them"
    return separate_stores(context, Severity.ADVICE, message, key, "name the nodes of a Redis Cluster")


@hookimpl
def scalekit_metrics(context: Context) -> Sequence[Instrument[Any]]:
    """Return the metrics of the cache, and of Redis when nodes are configured."""
    own = CachingMetrics.instruments("cluster-cache")
    config = context.config(ClusterCacheConfig)
    return [*own, *redis_instruments(config.url)] if config.nodes else own


@hookimpl
def scalekit_health(context: Context) -> Sequence[Check]:
    """Return a check that every master replies; it is not critical, as the application works without the cache."""
    config = context.config(ClusterCacheConfig)

    async def check() -> None:
        async with redis_connections(context).open(config.url) as redis:
            await redis.probe()

    return [Check("cluster-cache", check, critical=False)] if config.nodes else []


@hookimpl
def scalekit_commands(context: Context) -> Sequence[click.Command]:
    """Return `scalekit cluster-cache slots` and `purge`."""
    return commands(context, context.config(ClusterCacheConfig))


def _check_workers(config: ClusterCacheConfig, workers: int) -> None:
    if not config.nodes and not config.per_worker and workers > 1:
        message = (
            f"is empty, and there are {workers} workers: a purge in one would not reach the others; name a cluster,"
            ' such as nodes = ["10.0.0.5:6379"], or set per_worker = true, which lets the others return outdated values'
            " until their TTL ends"
        )
        raise ConfigError([Problem(message, "plugins.cluster-cache.nodes", plugin="cluster-cache")])
