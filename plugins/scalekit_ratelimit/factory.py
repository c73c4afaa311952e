"""Make what the table describes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from time import monotonic_ns

from scalekit.telemetry import Telemetry
from scalekit_ratelimit.adaptive_concurrency import Aimd, Concurrency, Gradient
from scalekit_ratelimit.circuit_breaker import Breaker
from scalekit_ratelimit.config import RateLimitConfig
from scalekit_ratelimit.limiter import Limits, Shared
from scalekit_ratelimit.load_shedding import Shedder
from scalekit_ratelimit.memory_limiter import MemoryLimits
from scalekit_ratelimit.metrics import Metrics
from scalekit_ratelimit.policies import Policies
from scalekit_ratelimit.redis_limiter import SharedLimits
from scalekit_redis import Connections, Redis


@asynccontextmanager
async def opened(
    config: RateLimitConfig, policies: Policies, connections: Connections, telemetry: Telemetry
) -> AsyncGenerator[tuple[Limits, Shedder | None], None]:
    """Return the limits, and what limits requests in flight if anything does, while inside."""
    metrics = Metrics(telemetry)
    memory = MemoryLimits(config.size, monotonic_ns)
    shedder = _shedder(config, policies, metrics)
    flying = shedder.concurrency if shedder else None
    async with AsyncExitStack() as stack:
        shared = None
        if config.url.scheme != "memory":
            opening = connections.open(config.url.reveal(), deadline=config.deadline)
            shared = await _shared(config, await stack.enter_async_context(opening), stack)
        figures = (lambda: (flying.in_flight, flying.limit)) if flying else None
        stack.enter_context(metrics.showing(lambda: len(memory), figures))
        yield Limits(policies, memory, shared, metrics), shedder


async def _shared(config: RateLimitConfig, redis: Redis, stack: AsyncExitStack) -> Shared:
    breaker = Breaker(redis, config.retry, config.deadline)
    await stack.enter_async_context(breaker.watching())
    return Shared(SharedLimits(redis, config.url.scheme.endswith("-cluster")), breaker, config.on_error)


def _shedder(config: RateLimitConfig, policies: Policies, metrics: Metrics) -> Shedder | None:
    table = config.concurrency
    if table is None or not table.enabled:
        return None
    rule = Gradient(table.tolerance, table.least) if table.algorithm == "gradient" else Aimd(table.target)
    return Shedder(Concurrency(rule, table.initial, table.least, table.most), policies, table.retry_after, metrics)
