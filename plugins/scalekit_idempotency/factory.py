"""Open the store that the configuration selects."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Literal

from scalekit import ConfigError, Context, Problem, warn_about_multiple_processes
from scalekit.contracts import DATABASE, TOKENS
from scalekit_idempotency.config import IdempotencyConfig
from scalekit_idempotency.stores.contract import IdempotencyStore
from scalekit_redis import redis_connections, verify_redis

logger = logging.getLogger("scalekit.idempotency")

NO_DATABASE = 'store = "database" needs [plugins.pool]; turn it on'
WEAKER = (
    "[plugins.idempotency] stores responses in %s, apart from the writes of their requests: a request whose"
    " process dies in between may have its effect twice; turn on [plugins.pool] to commit both together"
)
SEPARATE = "a request that another process repeats is executed again"
REMEDY = "turn on [plugins.pool], or set redis_url"
NO_SUBJECTS = (
    "no plugin authenticates users, and subject_header in [plugins.idempotency] is not set: all clients share one scope"
    " of keys, so a client that knows the key and the body of another one gets its response; turn on"
    " [plugins.jwt], or set subject_header to a header that identifies the client"
)
REDIS_TIMEOUT = 2.0
"""Seconds to wait for a reply."""


def choose_store(config: IdempotencyConfig, has_database: bool) -> Literal["database", "redis", "memory"]:
    """Return the kind of store."""
    if config.store != "auto":
        return config.store
    if has_database:
        return "database"
    return "memory" if config.redis_url is None else "redis"


def verify_store(config: IdempotencyConfig, has_database: bool, workers: int) -> None:
    """Raise ConfigError when the store cannot be used, and ImportError when its library is missing."""
    kind = choose_store(config, has_database)
    if kind == "database" and not has_database:
        raise ConfigError([Problem(NO_DATABASE, "plugins.idempotency.store", plugin="idempotency")])
    if kind == "redis" and config.redis_url is not None:
        verify_redis(config.redis_url.reveal())
    if kind == "memory" and workers > 1:
        message = f"{workers} workers cannot share responses in memory; {REMEDY}"
        raise ConfigError([Problem(message, "plugins.idempotency.store", plugin="idempotency")])


@asynccontextmanager
async def open_store(config: IdempotencyConfig, context: Context) -> AsyncGenerator[IdempotencyStore, None]:
    """Return the store, open inside the block; log what is weaker than in the database, and than with users."""
    if config.subject_header is None and not context.has(TOKENS):
        logger.warning(NO_SUBJECTS)
    kind, ttl = choose_store(config, context.has(DATABASE)), float(config.ttl)
    if kind == "database":
        from scalekit_idempotency.stores.database import DatabaseIdempotencyStore

        store = DatabaseIdempotencyStore(context.get(DATABASE), ttl, config.max_keys, config.isolation)
        await store.start()
        yield store
        return
    logger.warning(WEAKER, "Redis" if kind == "redis" else "memory")
    if kind == "redis" and config.redis_url is not None:
        from scalekit_idempotency.stores.redis import RedisIdempotencyStore

        async with redis_connections(context).open(config.redis_url.reveal(), timeout=REDIS_TIMEOUT) as redis:
            yield RedisIdempotencyStore(redis, ttl, float(config.lease_ttl))
    else:
        from scalekit_idempotency.stores.memory import MemoryIdempotencyStore

        warn_about_multiple_processes(context, "[plugins.idempotency] stores responses in memory", SEPARATE, REMEDY)
        yield MemoryIdempotencyStore(ttl, config.max_keys, config.memory_size)
