"""Open the limiter that the configuration describes, and verify that its store can be used."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from time import monotonic_ns

from scalekit import ConfigError, Context, Problem, StartError, background_task
from scalekit.contracts import DATABASE
from scalekit_ratelimit.circuit_breaker import CircuitBreaker
from scalekit_ratelimit.config import POOL_DATABASE, RateLimitConfig
from scalekit_ratelimit.limiter import Limiter, SharedBackend
from scalekit_ratelimit.memory_limiter import MemoryLimiter
from scalekit_ratelimit.metrics import RateLimitMetrics
from scalekit_ratelimit.policies import RateLimitPolicies
from scalekit_ratelimit.redis_limiter import RedisLimiter
from scalekit_ratelimit.shared_limiter import SharedLimiter
from scalekit_redis import redis_connections, verify_redis


def verify_store(config: RateLimitConfig, has_database: bool) -> None:
    """Raise ConfigError when the pool, which has the database, is off, and ImportError without the client library."""
    if config.store == "redis":
        verify_redis(config.url.reveal())
    if config.store == "database" and not has_database:
        problem = f"{POOL_DATABASE!r} needs [plugins.pool]; turn it on"
        raise ConfigError([Problem(problem, "plugins.ratelimit.url", plugin="ratelimit")])


@asynccontextmanager
async def open_limiter(
    config: RateLimitConfig, policies: RateLimitPolicies, metrics: RateLimitMetrics, context: Context
) -> AsyncGenerator[Limiter, None]:
    """Yield the limiter; raises StartError when the pool's database is not PostgreSQL."""
    memory = MemoryLimiter(config.max_keys, monotonic_ns)
    if config.store == "memory":
        yield Limiter(policies, memory, None, metrics)
        return
    open_shared = _open_database_limiter if config.store == "database" else _open_redis_limiter
    async with open_shared(config, context) as shared:
        circuit_breaker = CircuitBreaker(shared, config.retry_interval, config.store_timeout)
        async with circuit_breaker.run_probes():
            yield Limiter(policies, memory, SharedBackend(shared, circuit_breaker, config.on_error), metrics)


@asynccontextmanager
async def _open_redis_limiter(config: RateLimitConfig, context: Context) -> AsyncGenerator[SharedLimiter, None]:
    async with redis_connections(context).open(config.url.reveal(), timeout=config.store_timeout) as redis:
        yield RedisLimiter(redis, config.url.scheme.endswith("-cluster"))


@asynccontextmanager
async def _open_database_limiter(config: RateLimitConfig, context: Context) -> AsyncGenerator[SharedLimiter, None]:
    from scalekit_ratelimit.database_limiter import DatabaseLimiter  # imported only for this store

    database = context.get(DATABASE)
    if database.dialect != "postgresql":
        raise StartError(
            f'url = "{POOL_DATABASE}" in [plugins.ratelimit] needs PostgreSQL, and [plugins.pool] has'
            f' {database.dialect}; write url = "memory:" there, or a postgresql:// URL in [plugins.pool]'
        )
    limiter = DatabaseLimiter(database, config.store_timeout)
    await limiter.start()
    async with limiter.batcher.running(), background_task(limiter.run_removals(), "ratelimit"):
        yield limiter
