"""Check limits in memory or Redis, applying ``on_error`` when Redis is unavailable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic_ns
from typing import Any, Literal, TypeVar

from scalekit import Unavailable
from scalekit_ratelimit.circuit_breaker import CircuitBreaker
from scalekit_ratelimit.config import RateLimitConfig
from scalekit_ratelimit.headers import HitResults
from scalekit_ratelimit.limit_checks import HANDLER_CHECK, LimitCheck
from scalekit_ratelimit.limits import Hit
from scalekit_ratelimit.memory_limiter import MemoryLimiter
from scalekit_ratelimit.metrics import RateLimitMetrics
from scalekit_ratelimit.policies import RateLimitPolicies
from scalekit_ratelimit.redis_limiter import PendingHits, RedisLimiter
from scalekit_redis import Connections, RedisUnavailable, ReplyError

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class RedisBackend:
    """The limiter that all instances share, its circuit breaker, and the fallback while the circuit is open."""

    limiter: RedisLimiter
    circuit_breaker: CircuitBreaker
    on_error: Literal["local", "allow", "refuse"]


class Limiter:
    """Checks requests against *policies* in *redis*, or in *memory* when there is no Redis or it is unavailable."""

    def __init__(
        self, policies: RateLimitPolicies, memory: MemoryLimiter, redis: RedisBackend | None, metrics: RateLimitMetrics
    ) -> None:
        self.policies = policies
        self.memory = memory
        self.redis = redis
        self.metrics = metrics

    def start_check(self, check: LimitCheck[T, R], hits: T) -> R | asyncio.Future[Any] | None:
        """Return the result of *check*, the future of its reply, or None when not counted; raises Unavailable."""
        redis = self.redis
        if redis is None:
            return check.hit_memory(self.memory, hits)
        if redis.circuit_breaker.error:
            return self._without_redis(redis, check, hits)
        try:
            return check.send_to_redis(redis.limiter, hits)
        except RedisUnavailable:
            return self._without_redis(redis, check, hits)

    def finish_check(self, check: LimitCheck[T, R], hits: T, reply: asyncio.Future[Any]) -> R | None:
        """Return the result of *reply*, or None when not counted; raises Unavailable."""
        redis = self.redis
        if redis is None:
            return check.hit_memory(self.memory, hits)
        try:
            result = check.read_reply(redis.limiter, hits, reply)
        except (RedisUnavailable, ReplyError) as error:
            if isinstance(error, RedisUnavailable) and error.kind in ("timeout", "disconnected"):
                self.metrics.count_redis_timeout()
            redis.circuit_breaker.record_failure(error)
            return self._without_redis(redis, check, hits)
        check.record_refusal(self.memory, hits, result)
        return result

    async def hit(self, hits: Sequence[Hit]) -> HitResults:
        """Count *hits* and return the state of each limit, empty when not counted; raises Unavailable."""
        pending = PendingHits(hits)
        result = self.start_check(HANDLER_CHECK, pending)
        if isinstance(result, asyncio.Future):
            await asyncio.wait([result])
            result = self.finish_check(HANDLER_CHECK, pending, result)
        return result or []

    def read_memory(self, hits: Sequence[Hit]) -> HitResults:
        """Return the state of each limit of *hits* in memory, without counting."""
        return HANDLER_CHECK.hit_memory(self.memory, _without_cost(hits))

    async def read_redis(self, hits: Sequence[Hit]) -> HitResults:
        """Return the state of each limit in Redis without counting, empty without Redis.

        Raises RedisUnavailable or ReplyError.
        """
        redis = self.redis
        if redis is None:
            return []
        pending = _without_cost(hits)
        await asyncio.wait([redis.limiter.send_hits(pending)])
        return redis.limiter.read_replies(pending)

    async def reset(self, hits: Sequence[Hit]) -> str:
        """Delete the counters of *hits*; return why they are still in Redis, empty when they are not."""
        for hit in hits:
            self.memory.reset(hit)
        redis = self.redis
        if redis is None or redis.circuit_breaker.error:
            return redis.circuit_breaker.error if redis else ""
        try:
            await redis.limiter.reset(hits)
        except (RedisUnavailable, ReplyError) as error:
            redis.circuit_breaker.record_failure(error)
            return str(error)
        return ""

    def _without_redis(self, redis: RedisBackend, check: LimitCheck[T, R], hits: T) -> R | None:
        """Return the result of counting in memory, or None when not counted; raises Unavailable."""
        self.metrics.count_redis_error(redis.on_error)
        if redis.on_error == "refuse":
            raise Unavailable('rate limits cannot be checked: Redis is unavailable and on_error = "refuse"')
        return check.hit_memory(self.memory, hits) if redis.on_error == "local" else None


def _without_cost(hits: Sequence[Hit]) -> PendingHits:
    return PendingHits([hit._replace(cost=0) for hit in hits])


@asynccontextmanager
async def open_limiter(
    config: RateLimitConfig, policies: RateLimitPolicies, connections: Connections, metrics: RateLimitMetrics
) -> AsyncGenerator[Limiter, None]:
    """Yield the limiter that the configuration describes."""
    memory = MemoryLimiter(config.max_keys, monotonic_ns)
    if config.url.scheme == "memory":
        yield Limiter(policies, memory, None, metrics)
        return
    async with connections.open(config.url.reveal(), timeout=config.redis_timeout) as redis:
        circuit_breaker = CircuitBreaker(redis, config.retry_interval, config.redis_timeout)
        limiter = RedisLimiter(redis, config.url.scheme.endswith("-cluster"))
        async with circuit_breaker.run_probes():
            yield Limiter(policies, memory, RedisBackend(limiter, circuit_breaker, config.on_error), metrics)
