"""Make what the table describes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from time import monotonic_ns

from scalekit.telemetry import Telemetry
from scalekit_ratelimit.adaptive_concurrency import AdaptiveConcurrency, AimdAlgorithm, GradientAlgorithm
from scalekit_ratelimit.circuit_breaker import CircuitBreaker
from scalekit_ratelimit.config import RateLimitConfig
from scalekit_ratelimit.limiter import Limiter, RedisBackend
from scalekit_ratelimit.load_shedding import LoadShedder
from scalekit_ratelimit.memory_limiter import MemoryLimiter
from scalekit_ratelimit.metrics import RateLimitMetrics
from scalekit_ratelimit.policies import RateLimitPolicies
from scalekit_ratelimit.redis_limiter import RedisLimiter
from scalekit_redis import Connections, Redis


@asynccontextmanager
async def open_limiter(
    config: RateLimitConfig, policies: RateLimitPolicies, connections: Connections, telemetry: Telemetry
) -> AsyncGenerator[tuple[Limiter, LoadShedder | None], None]:
    """Return the limits, and what limits requests in flight if anything does, while inside."""
    metrics = RateLimitMetrics(telemetry)
    memory = MemoryLimiter(config.size, monotonic_ns)
    shedder = _shedder(config, policies, metrics)
    flying = shedder.concurrency if shedder else None
    async with AsyncExitStack() as stack:
        shared = None
        if config.url.scheme != "memory":
            opening = connections.open(config.url.reveal(), timeout=config.deadline)
            shared = await _shared(config, await stack.enter_async_context(opening), stack)
        figures = (lambda: (flying.in_flight, flying.limit)) if flying else None
        stack.enter_context(metrics.showing(lambda: len(memory), figures))
        yield Limiter(policies, memory, shared, metrics), shedder


async def _shared(config: RateLimitConfig, redis: Redis, stack: AsyncExitStack) -> RedisBackend:
    breaker = CircuitBreaker(redis, config.retry, config.deadline)
    await stack.enter_async_context(breaker.watching())
    return RedisBackend(RedisLimiter(redis, config.url.scheme.endswith("-cluster")), breaker, config.on_error)


def _shedder(config: RateLimitConfig, policies: RateLimitPolicies, metrics: RateLimitMetrics) -> LoadShedder | None:
    table = config.concurrency
    if table is None or not table.enabled:
        return None
    rule = (
        GradientAlgorithm(table.tolerance, table.least)
        if table.algorithm == "gradient"
        else AimdAlgorithm(table.target)
    )
    return LoadShedder(
        AdaptiveConcurrency(rule, table.initial, table.least, table.most), policies, table.retry_after, metrics
    )
