"""Check limits in memory or in a shared store, applying ``on_error`` when that is unavailable."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from scalekit import Unavailable
from scalekit_ratelimit.circuit_breaker import CircuitBreaker
from scalekit_ratelimit.headers import HitResults
from scalekit_ratelimit.limit_checks import HANDLER_CHECK, LimitCheck
from scalekit_ratelimit.limits import Hit
from scalekit_ratelimit.memory_limiter import MemoryLimiter
from scalekit_ratelimit.metrics import RateLimitMetrics
from scalekit_ratelimit.policies import RateLimitPolicies
from scalekit_ratelimit.shared_limiter import STORE_ERRORS, PendingHits, SharedLimiter

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class SharedBackend:
    """The limiter that all instances share, its circuit breaker, and the fallback while the circuit is open."""

    limiter: SharedLimiter
    circuit_breaker: CircuitBreaker
    on_error: Literal["local", "allow", "refuse"]


class Limiter:
    """Checks requests against *policies* in *shared*, or in *memory* when that is None or unavailable."""

    def __init__(
        self,
        policies: RateLimitPolicies,
        memory: MemoryLimiter,
        shared: SharedBackend | None,
        metrics: RateLimitMetrics,
    ) -> None:
        self.policies = policies
        self.memory = memory
        self.shared = shared
        self.metrics = metrics

    def start_check(self, check: LimitCheck[T, R], hits: T) -> R | asyncio.Future[Any] | None:
        """Return the result of *check*, the future of its reply, or None when not counted; raises Unavailable."""
        shared = self.shared
        if shared is None:
            return check.hit_memory(self.memory, hits)
        if shared.circuit_breaker.error:
            return self._without_store(shared, check, hits)
        try:
            return check.send(shared.limiter, hits)
        except STORE_ERRORS:
            return self._without_store(shared, check, hits)

    def finish_check(self, check: LimitCheck[T, R], hits: T, reply: asyncio.Future[Any]) -> R | None:
        """Return the result of *reply*, or None when not counted; raises Unavailable."""
        shared = self.shared
        if shared is None:
            return check.hit_memory(self.memory, hits)
        try:
            result = check.read_reply(shared.limiter, hits, reply)
        except STORE_ERRORS as error:
            if getattr(error, "kind", "") in ("timeout", "disconnected"):
                self.metrics.count_store_timeout()
            shared.circuit_breaker.record_failure(error)
            return self._without_store(shared, check, hits)
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

    async def read_shared(self, hits: Sequence[Hit]) -> HitResults:
        """Return the state of each limit in the shared store without counting, empty without one.

        Raises one of STORE_ERRORS.
        """
        shared = self.shared
        if shared is None:
            return []
        pending = _without_cost(hits)
        await asyncio.wait([shared.limiter.send_hits(pending)])
        return shared.limiter.read_replies(pending)

    async def reset(self, hits: Sequence[Hit]) -> str:
        """Delete the counters of *hits*; return why they are still in the shared store, empty when they are not."""
        for hit in hits:
            self.memory.reset(hit)
        shared = self.shared
        if shared is None or shared.circuit_breaker.error:
            return shared.circuit_breaker.error if shared else ""
        try:
            await shared.limiter.reset(hits)
        except STORE_ERRORS as error:
            shared.circuit_breaker.record_failure(error)
            return str(error)
        return ""

    def _without_store(self, shared: SharedBackend, check: LimitCheck[T, R], hits: T) -> R | None:
        """Return the result of counting in memory, or None when not counted; raises Unavailable."""
        self.metrics.count_store_error(shared.on_error)
        if shared.on_error == "refuse":
            raise Unavailable(
                f'rate limits cannot be checked: {shared.limiter.store} is unavailable and on_error = "refuse"'
            )
        return check.hit_memory(self.memory, hits) if shared.on_error == "local" else None


def _without_cost(hits: Sequence[Hit]) -> PendingHits:
    return PendingHits([hit._replace(cost=0) for hit in hits])
