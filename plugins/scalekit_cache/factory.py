"""Create the cache of the configuration, and open its store: memory, Redis or the cluster cache."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from scalekit import ROUTE_TEMPLATE, Context
from scalekit.contracts import CLUSTER_STORE, CODING_NEGOTIATOR
from scalekit_cache.codec import HttpCodec
from scalekit_cache.config import CacheConfig
from scalekit_cache.http_cache import CacheOptions, HttpCache
from scalekit_cache.metrics import CacheMetrics
from scalekit_cache.policies import CachePolicies
from scalekit_cache.storability import StorageRules
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


def create_cache(
    context: Context, config: CacheConfig, store: Store, metrics: CacheMetrics, clock: Callable[[], float]
) -> HttpCache:
    """Return the cache of *config* with the open *store*."""
    policies = CachePolicies([(table.path, table.policy()) for table in config.policies])
    cache = HttpCache(store, policies, _options(config), metrics, clock)
    if context.has(ROUTE_TEMPLATE):  # not in a command
        cache.route_of = context.get(ROUTE_TEMPLATE)
    if context.has(CODING_NEGOTIATOR):
        cache.negotiate = context.get(CODING_NEGOTIATOR).negotiate
    return cache


def _options(config: CacheConfig) -> CacheOptions:
    targeted = tuple(name.lower().encode() for name in config.targeted_headers)
    return CacheOptions(
        name=config.cache_status_name.encode(),
        max_body=config.max_body,
        coalesce_timeout=config.coalesce_timeout,
        refresh_timeout=config.refresh_timeout,
        cookies_identify=config.cookies == "private",
        sort_query=config.sort_query,
        storage_rules=StorageRules(targeted, config.heuristic_fraction),
        tags_from_sql=config.tags_from_sql,
        credential_headers=config.credential_headers,
    )
