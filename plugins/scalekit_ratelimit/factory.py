"""Build the limiter and the load shedder that the configuration describes."""

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
    """Return the limiter and, when ``concurrency`` is enabled, the load shedder; close them on exit."""
    metrics = RateLimitMetrics(telemetry)
    memory = MemoryLimiter(config.max_keys, monotonic_ns)
    shedder = _load_shedder(config, policies, metrics)
    concurrency = shedder.concurrency if shedder else None
    async with AsyncExitStack() as stack:
        backend = None
        if config.url.scheme != "memory":
            opening = connections.open(config.url.reveal(), timeout=config.redis_timeout)
            backend = await _redis_backend(config, await stack.enter_async_context(opening), stack)
        sample = (lambda: (concurrency.in_flight, concurrency.limit)) if concurrency else None
        stack.enter_context(metrics.export_gauges(lambda: len(memory), sample))
        yield Limiter(policies, memory, backend, metrics), shedder


async def _redis_backend(config: RateLimitConfig, redis: Redis, stack: AsyncExitStack) -> RedisBackend:
    circuit_breaker = CircuitBreaker(redis, config.retry_interval, config.redis_timeout)
    await stack.enter_async_context(circuit_breaker.run_probes())
    limiter = RedisLimiter(redis, config.url.scheme.endswith("-cluster"))
    return RedisBackend(limiter, circuit_breaker, config.on_error)


def _load_shedder(
    config: RateLimitConfig, policies: RateLimitPolicies, metrics: RateLimitMetrics
) -> LoadShedder | None:
    table = config.concurrency
    if table is None or not table.enabled:
        return None
    gradient = table.algorithm == "gradient"
    algorithm = GradientAlgorithm(table.tolerance, table.min_limit) if gradient else AimdAlgorithm(table.target_latency)
    concurrency = AdaptiveConcurrency(algorithm, table.initial_limit, table.min_limit, table.max_limit)
    return LoadShedder(concurrency, policies, table.retry_after, metrics)
