"""How the cache joins the host."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import click

from scalekit import Context, Key, Layer, Layered, Lifespan, Middleware, Table, hookimpl
from scalekit.caching.objects import Objects
from scalekit.caching.store import MemoryStore
from scalekit.contracts import CACHE
from scalekit.telemetry import TELEMETRY
from scalekit_cache.commands import commands
from scalekit_cache.config import CacheConfig
from scalekit_cache.core import HttpCache, Options
from scalekit_cache.metrics import Metrics
from scalekit_cache.middleware import CacheMiddleware, Slot
from scalekit_cache.policies import Policies
from scalekit_cache.ruling import Rules

SLOT: Key[Slot] = Key("cache slot", plugin="cache")


@hookimpl
def scalekit_config() -> type[Table]:
    """Return the model of ``[plugins.cache]``."""
    return CacheConfig


@hookimpl
def scalekit_lifespan(context: Context) -> Lifespan:
    """Return what keeps the store open."""
    config = context.config(CacheConfig)
    slot = Slot()
    context.provide(SLOT, slot)

    @asynccontextmanager
    async def run() -> AsyncGenerator[None, None]:
        metrics = Metrics(context.get(TELEMETRY))
        store = MemoryStore(config.size)
        with metrics.showing(store.figures):
            cache = HttpCache(store, _policies(config), _options(config), metrics, time.time)
            context.provide(CACHE, Objects(store, metrics, time.time, config.wait))
            slot.cache = cache
            try:
                yield
            finally:
                slot.cache = None
                await cache.close()

    async def drain() -> None:
        if slot.cache is not None:
            slot.cache.drain()

    return Lifespan(run, provides=(CACHE,), drain=drain)


@hookimpl
def scalekit_middleware(context: Context) -> Sequence[Layered]:
    """Return what answers from the cache, once it is known who asks."""
    return [Layered(Layer.CACHE, Middleware(CacheMiddleware, context.get(SLOT)))]


@hookimpl
def scalekit_commands(context: Context) -> Sequence[click.Command]:
    """Return `scalekit cache purge`."""
    return commands(context.config(CacheConfig).url.scheme)


def _policies(config: CacheConfig) -> Policies:
    return Policies([(table.path, table.policy()) for table in config.policies])


def _options(config: CacheConfig) -> Options:
    targeted = tuple(name.lower().encode() for name in config.targeted)
    return Options(
        config.name.encode(),
        config.max_body,
        config.wait,
        config.refresh_timeout,
        config.cookies == "private",
        config.sort_query,
        Rules(targeted, config.heuristic),
    )
