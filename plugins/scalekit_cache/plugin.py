"""Hooks of the cache plugin."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Container, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import click

from scalekit import (
    ROUTE_TEMPLATE,
    Check,
    ConfigError,
    Context,
    Diagnostic,
    Key,
    Layer,
    LayeredFilter,
    Lifespan,
    Problem,
    ServerRequirement,
    Severity,
    Table,
    hookimpl,
    required_server,
    separate_stores,
)
from scalekit.contracts import ADVISERS, CACHE, CLUSTER_STORE, DATABASE, TABLE_OBSERVER
from scalekit.pages import CONSOLE_PAGES, ConsolePage
from scalekit.telemetry import TELEMETRY, Instrument, instruments_in
from scalekit_cache import metrics
from scalekit_cache.commands import commands
from scalekit_cache.config import CacheConfig
from scalekit_cache.factory import create_cache, open_store
from scalekit_cache.filters import CacheFilter
from scalekit_cache.invalidation import SqlInvalidation
from scalekit_cache.metrics import CacheMetrics
from scalekit_cache.pages import advise, cache_page
from scalekit_cache.route_outcomes import RouteOutcomes
from scalekit_cache.spans import traced_refresh
from scalekit_caching import CachingMetrics, ValueCache
from scalekit_redis import (
    RedisContents,
    RedisUse,
    redis_connections,
    redis_diagnostics,
    redis_instruments,
    verify_redis,
)

CLUSTER_NAMESPACE = b"cache "
"""Key prefix of this plugin's values in the cluster-cache store; prevents collisions with that plugin's own values."""
REQUIRED_BY: dict[Key[Any], str] = {CLUSTER_STORE: "url", DATABASE: "tags_from_sql"}
FILTER: Key[CacheFilter] = Key("cache filter", plugin="cache")


@hookimpl
def scalekit_config() -> type[Table]:
    """Return the model of ``[plugins.cache]``."""
    return CacheConfig


@hookimpl
def scalekit_lifespan(context: Context) -> Lifespan:
    """Return the lifespan of the store."""
    config = context.config(CacheConfig)
    cache_filter = _filter(context)

    def verify(provided: Container[Key[Any]]) -> None:
        _check_workers(config, context.server.workers or 1)
        if config.shared and not config.on_cluster_cache:
            verify_redis(config.url.reveal())

    async def drain() -> None:
        if cache_filter.cache is not None:
            cache_filter.cache.drain()

    return Lifespan(
        partial(_run, context, config, cache_filter),
        provides=(CACHE, TABLE_OBSERVER) if config.tags_from_sql else (CACHE,),
        requires=(CLUSTER_STORE,) if config.on_cluster_cache else (),
        before=(DATABASE,) if config.tags_from_sql else (),
        drain=drain,
        verify=verify,
        required_by_key=REQUIRED_BY,
    )


@hookimpl
def scalekit_servers(context: Context) -> Sequence[ServerRequirement]:
    """Return the Redis that stores the responses."""
    return required_server(context.config(CacheConfig).url, "plugins.cache.url", "cache")


@hookimpl
def scalekit_diagnostics(context: Context) -> Sequence[Diagnostic]:
    """Return the diagnostic of the Redis that stores the responses, or of the memory."""
    url = context.config(CacheConfig).url
    if scalekit_servers(context):
        use = RedisUse("plugins.cache.url", "responses of the cache", RedisContents.CACHE)
        return redis_diagnostics(context, url.reveal(), use)
    if url.scheme != "memory":
        return []
    message = "each caches responses by itself, and a purge reaches one of them"
    return separate_stores(context, Severity.ADVICE, message, "plugins.cache.url", "set url to a Redis")


@hookimpl
def scalekit_metrics(context: Context) -> Sequence[Instrument[Any]]:
    """Return the metrics of the cache, and those of Redis when it is the store."""
    config = context.config(CacheConfig)
    own = [*CachingMetrics.instruments("cache"), *instruments_in(metrics)]
    uses_redis = config.shared and not config.on_cluster_cache
    return [*own, *redis_instruments(config.url.reveal())] if uses_redis else own


@hookimpl
def scalekit_filters(context: Context) -> Sequence[LayeredFilter]:
    """Return the filter of the cache, in the layer after authentication."""
    return [LayeredFilter(Layer.CACHE, _filter(context))]


@hookimpl
def scalekit_health(context: Context) -> Sequence[Check]:
    """Return the check of Redis, which is not critical, because the application responds without it."""
    config = context.config(CacheConfig)
    if not config.shared or config.on_cluster_cache:
        return []

    async def check() -> None:
        async with redis_connections(context).open(config.url.reveal()) as redis:
            await redis.probe()

    return [Check("cache", check, critical=False)]


@hookimpl
def scalekit_commands(context: Context) -> Sequence[click.Command]:
    """Return the command ``scalekit cache purge``."""
    return commands(context, context.config(CacheConfig))


@hookimpl
def scalekit_pages(context: Context) -> Sequence[ConsolePage]:
    """Return the page of the cache, and give advice on its configuration."""
    config, cache_filter = context.config(CacheConfig), _filter(context)
    context.shared(ADVISERS, list).append(partial(advise, cache_filter, config, context.server.workers or 1))
    return [cache_page(context, config, cache_filter)]


@asynccontextmanager
async def _run(context: Context, config: CacheConfig, cache_filter: CacheFilter) -> AsyncGenerator[None, None]:
    """Open the store, and let *cache_filter* use it while inside."""
    cache_metrics = CacheMetrics(context.get(TELEMETRY))
    if context.has(CONSOLE_PAGES) and context.has(ROUTE_TEMPLATE):  # not in a command
        cache_metrics.routes = RouteOutcomes(context.get(ROUTE_TEMPLATE))
    async with open_store(context, config, cache_metrics, time.time) as store:
        cache = create_cache(context, config, store, cache_metrics, time.time)
        cache.run_refresh = partial(traced_refresh, context)
        namespace = CLUSTER_NAMESPACE if config.on_cluster_cache else b""
        context.provide(CACHE, ValueCache(store, cache_metrics, time.time, config.coalesce_timeout, namespace))
        cache_filter.cache = cache
        async with AsyncExitStack() as stack:
            stack.push_async_callback(cache.close)
            stack.callback(setattr, cache_filter, "cache", None)
            if config.tags_from_sql:
                suspend = partial(cache_filter.suspend, cache)
                observer = SqlInvalidation(store, cache_metrics, suspend, cache_metrics.pending_purges)
                context.provide(TABLE_OBSERVER, await stack.enter_async_context(observer.running()))
            yield


def _filter(context: Context) -> CacheFilter:
    """Return the one filter of this application, which bypasses the cache until the store is open."""
    return context.shared(FILTER, lambda: CacheFilter(context.config(CacheConfig).credential_headers))


def _check_workers(config: CacheConfig, workers: int) -> None:
    if not config.shared and not config.per_worker and workers > 1:
        message = (
            f'is "memory:", and there are {workers} workers: a purge in one would not reach the others; set a shared'
            ' store, such as url = "redis://127.0.0.1:6379", or set per_worker = true, which lets the'
            " others send purged responses until their ttl ends"
        )
        raise ConfigError([Problem(message, "plugins.cache.url", plugin="cache")])
