"""LimitCheck limits in memory or on Redis, and do what ``on_error`` says while Redis is unavailable."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from scalekit import Unavailable
from scalekit_ratelimit.circuit_breaker import CircuitBreaker
from scalekit_ratelimit.headers import HitResults
from scalekit_ratelimit.limit_checks import ALL, LimitCheck
from scalekit_ratelimit.memory_limiter import Hit, MemoryLimiter
from scalekit_ratelimit.metrics import RateLimitMetrics
from scalekit_ratelimit.policies import RateLimitPolicies
from scalekit_ratelimit.redis_limiter import PendingHits, RedisLimiter
from scalekit_redis import RedisUnavailable, ReplyError

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class RedisBackend:
    """Where all instances count, and what is done while that is gone."""

    limits: RedisLimiter
    breaker: CircuitBreaker
    on_error: Literal["local", "allow", "refuse"]


class Limiter:
    """The policies, and where they are counted: in *memory*, or where it is *shared* while that is there."""

    def __init__(
        self, policies: RateLimitPolicies, memory: MemoryLimiter, shared: RedisBackend | None, metrics: RateLimitMetrics
    ) -> None:
        self.policies = policies
        self.memory = memory
        self.shared = shared
        self.metrics = metrics

    def start_check(self, check: LimitCheck[T, R], takes: T) -> R | asyncio.Future[Any] | None:
        """Return the result of *check*, or the reply that brings it, or None when nobody counts; raises Unavailable."""
        shared = self.shared
        if shared is None:
            return check.take(self.memory, takes)
        if shared.breaker.trouble:
            return self._without(shared, check, takes)
        try:
            return check.send(shared.limits, takes)
        except RedisUnavailable:
            return self._without(shared, check, takes)

    def finish_check(self, check: LimitCheck[T, R], takes: T, reply: asyncio.Future[Any]) -> R | None:
        """Return the result that *reply* has brought, or None when nobody counts; raises Unavailable."""
        shared = self.shared
        if shared is None:
            return check.take(self.memory, takes)
        try:
            result = check.receive(shared.limits, takes, reply)
        except (RedisUnavailable, ReplyError) as error:
            if isinstance(error, RedisUnavailable) and error.kind in ("timeout", "disconnected"):
                self.metrics.late()
            shared.breaker.note(error)
            return self._without(shared, check, takes)
        check.learn(self.memory, takes, result)
        return result

    async def take(self, takes: Sequence[Hit]) -> HitResults:
        """Return the counts of *takes*, none where nobody counts; raises Unavailable."""
        asked = PendingHits(takes)
        result = self.start_check(ALL, asked)
        if isinstance(result, asyncio.Future):
            await asyncio.wait([result])
            result = self.finish_check(ALL, asked, result)
        return result or []

    async def forget(self, takes: Sequence[Hit]) -> None:
        """Forget what was taken, as far as that can be now."""
        for take in takes:
            self.memory.forget(take)
        shared = self.shared
        if shared is not None and not shared.breaker.trouble:
            try:
                await shared.limits.forget(takes)
            except (RedisUnavailable, ReplyError) as error:
                shared.breaker.note(error)

    def _without(self, shared: RedisBackend, check: LimitCheck[T, R], takes: T) -> R | None:
        """Return the result of this process alone, or None where nobody counts; raises Unavailable."""
        self.metrics.failed(shared.on_error)
        if shared.on_error == "refuse":
            raise Unavailable("limits cannot be counted now")
        return check.take(self.memory, takes) if shared.on_error == "local" else None
