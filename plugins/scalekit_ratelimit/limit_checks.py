"""Check a request against its limits, whether they are counted in memory or in Redis."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from starlette.types import Scope

from scalekit import Exchange, LocalResponse, local_response
from scalekit_ratelimit.headers import HitResults, add_limit_headers, remove_legacy_headers, too_many_requests
from scalekit_ratelimit.memory_limiter import MemoryLimiter
from scalekit_ratelimit.metrics import RateLimitMetrics
from scalekit_ratelimit.redis_limiter import PendingHits, RedisLimiter

if TYPE_CHECKING:
    from scalekit_ratelimit.policies import RateLimitPolicy

logger = logging.getLogger("scalekit.ratelimit")

T = TypeVar("T")
R = TypeVar("R")


class LimitCheck(Protocol[T, R]):
    """The limits of one path and method: *T* describes the hits of a request, *R* the state of the limits after it."""

    def prepare(self, scope: Scope) -> T | None:
        """Return the hits of a request, or None when it is not counted."""
        ...

    def hit_memory(self, memory: MemoryLimiter, hits: T) -> R:
        """Count *hits* in memory and return the result."""
        ...

    def send_to_redis(self, redis: RedisLimiter, hits: T) -> asyncio.Future[Any]:
        """Send *hits* to Redis and return the future of the reply; raises RedisUnavailable."""
        ...

    def read_reply(self, redis: RedisLimiter, hits: T, reply: asyncio.Future[Any]) -> R:
        """Return the result of *reply*; raises RedisUnavailable or ReplyError."""
        ...

    def record_refusal(self, memory: MemoryLimiter, hits: T, result: R) -> None:
        """Record in memory what Redis refused, for the time when Redis is unavailable."""
        ...

    def apply_decision(self, exchange: Exchange, result: R, metrics: RateLimitMetrics) -> LocalResponse | None:
        """Return the 429 response of a request that exceeds a limit; otherwise add headers and return None."""
        ...


class CombinedCheck:
    """All limits of *policies*: a request that an enforced limit refuses is counted by none of them."""

    def __init__(self, policies: Sequence[RateLimitPolicy], legacy_headers: bool) -> None:
        self.policies = policies
        self._legacy_headers = legacy_headers

    def prepare(self, scope: Scope) -> PendingHits | None:
        """Return a hit for each limit."""
        found = [hit for policy in self.policies for hit in policy.hits(scope)]
        return PendingHits(found) if found else None

    def hit_memory(self, memory: MemoryLimiter, hits: PendingHits) -> HitResults:
        """Count the hits in memory."""
        return list(zip(hits.hits, memory.hit(hits.hits), strict=True))

    def send_to_redis(self, redis: RedisLimiter, hits: PendingHits) -> asyncio.Future[Any]:
        """Send the hits to Redis."""
        return redis.send_hits(hits)

    def read_reply(self, redis: RedisLimiter, hits: PendingHits, reply: asyncio.Future[Any]) -> HitResults:
        """Return the state of each limit."""
        return redis.read_replies(hits)

    def record_refusal(self, memory: MemoryLimiter, hits: PendingHits, result: HitResults) -> None:
        """Record each limit that is exceeded."""
        for hit, state in result:
            if not state.allowed:
                memory.record_refusal(hit.limit, hit.key, state.reset)

    def apply_decision(self, exchange: Exchange, result: HitResults, metrics: RateLimitMetrics) -> LocalResponse | None:
        """Return the 429 response, or add headers."""
        enforced = enforced_results(result, metrics, exchange.scope)
        if all_allowed(enforced):
            add_limit_headers(exchange.added_headers, enforced, self._legacy_headers)
            return None
        remove_legacy_headers(exchange.added_headers)  # the response has its own
        return local_response(too_many_requests(enforced, self._legacy_headers))


HANDLER_CHECK = CombinedCheck((), False)
"""Checks hits that a handler has prepared."""


def enforced_results(results: HitResults, metrics: RateLimitMetrics, scope: Scope | None = None) -> HitResults:
    """Return the *results* of policies without ``dry_run``; record refusals of both kinds in *metrics*."""
    for hit, state in results:
        if state.allowed:
            continue
        if not hit.dry_run:
            metrics.count_refused(hit.limit.name)
            continue
        metrics.count_dry_run_refused(hit.limit.name)
        if scope is not None:
            method, path = scope.get("method", "GET"), scope["path"]
            logger.info("dry run: policy %s would refuse %s %r", hit.limit.name, method, path)
    return [(hit, state) for hit, state in results if not hit.dry_run]


def all_allowed(results: HitResults) -> bool:
    """Return whether every limit allows the request."""
    return all(state.allowed for _, state in results)
