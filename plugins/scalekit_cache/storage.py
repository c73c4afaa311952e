"""Open the store of the configuration: memory, Redis or the cluster cache."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from scalekit import Context
from scalekit.contracts import CLUSTER_STORE
from scalekit_cache.codec import HttpCodec
from scalekit_cache.config import CacheConfig
from scalekit_cache.metrics import CacheMetrics
from scalekit_caching import MemoryStore, RedisStore, SharedStore, Store, TieredStore
from scalekit_redis import redis_connections


@asynccontextmanager
async def open_store(
    context: Context, config: CacheConfig, metrics: CacheMetrics, clock: Callable[[], float]
) -> AsyncGenerator[Store, None]:
    """Open the store of *config*; an unreachable shared store is no error."""
    local = MemoryStore(config.memory_size)
    with metrics.export_memory(local.statistics):
        if not config.shared:
            yield local
            return
        async with open_shared_store(context, config) as shared:
            store = TieredStore(local, shared, HttpCodec(), metrics, clock, disconnected_ttl=config.disconnected_ttl)
            async with store.running():
                yield store


@asynccontextmanager
async def open_shared_store(context: Context, config: CacheConfig) -> AsyncGenerator[SharedStore, None]:
    """Open the shared store of *config*."""
    if config.on_cluster_cache:
        yield context.get(CLUSTER_STORE)
        return
    async with redis_connections(context).open(config.url.reveal(), timeout=config.store_timeout) as redis:
        yield RedisStore(redis, config.prefix)
