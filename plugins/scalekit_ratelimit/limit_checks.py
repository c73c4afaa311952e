"""How a request is checked against its limits: what it takes of them, where that is counted, what comes of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from starlette.types import Scope

from scalekit import Exchange, LocalResponse, local_response
from scalekit_ratelimit.headers import HitResults, add_limit_headers, drop_legacy_headers, too_many_requests
from scalekit_ratelimit.memory_limiter import MemoryLimiter
from scalekit_ratelimit.metrics import RateLimitMetrics
from scalekit_ratelimit.redis_limiter import PendingHits, RedisLimiter

if TYPE_CHECKING:
    from scalekit_ratelimit.policies import RateLimitPolicy

logger = logging.getLogger("scalekit.ratelimit")

T = TypeVar("T")
R = TypeVar("R")


class LimitCheck(Protocol[T, R]):
    """The limits of one path: a request takes *T* of them, and *R* is how they stand then."""

    def takes(self, scope: Scope) -> T | None:
        """Return what the request of *scope* takes, or None when it is not counted."""
        ...

    def take(self, memory: MemoryLimiter, takes: T) -> R:
        """Take from *memory*."""
        ...

    def send(self, shared: RedisLimiter, takes: T) -> asyncio.Future[Any]:
        """Ask Redis to take; raises RedisUnavailable when that cannot be sent."""
        ...

    def receive(self, shared: RedisLimiter, takes: T, reply: asyncio.Future[Any]) -> R:
        """Return the result of *reply*; raises RedisUnavailable or ReplyError."""
        ...

    def learn(self, memory: MemoryLimiter, takes: T, result: R) -> None:
        """Note in *memory* what Redis has refused."""
        ...

    def decide(self, exchange: Exchange, result: R, metrics: RateLimitMetrics) -> LocalResponse | None:
        """Return the 429 for a request that is over a limit; add headers to the response of any other."""
        ...


class CombinedCheck:
    """All limits of *policies* at once: where one in force refuses, none is taken from."""

    def __init__(self, policies: Sequence[RateLimitPolicy], legacy: bool) -> None:
        self.policies = policies
        self._legacy = legacy

    def takes(self, scope: Scope) -> PendingHits | None:
        """Return what the request takes of each limit."""
        found = [take for policy in self.policies for take in policy.takes(scope)]
        return PendingHits(found) if found else None

    def take(self, memory: MemoryLimiter, takes: PendingHits) -> HitResults:
        """Take from *memory*."""
        return list(zip(takes.takes, memory.take(takes.takes), strict=True))

    def send(self, shared: RedisLimiter, takes: PendingHits) -> asyncio.Future[Any]:
        """Ask Redis to take."""
        return shared.send(takes)

    def receive(self, shared: RedisLimiter, takes: PendingHits, reply: asyncio.Future[Any]) -> HitResults:
        """Return the counts."""
        return shared.receive(takes)

    def learn(self, memory: MemoryLimiter, takes: PendingHits, result: HitResults) -> None:
        """Note which limits are reached."""
        for take, count in result:
            if not count.allowed:
                memory.learn_refusal(take.rule, take.who, count.reset)

    def decide(self, exchange: Exchange, result: HitResults, metrics: RateLimitMetrics) -> LocalResponse | None:
        """Return the 429, or add headers."""
        counts = in_force(result, metrics, exchange.scope)
        if is_allowed(counts):
            add_limit_headers(exchange.added_headers, counts, self._legacy)
            return None
        drop_legacy_headers(exchange.added_headers)  # the response has its own
        return local_response(too_many_requests(counts, self._legacy))


ALL = CombinedCheck((), False)
"""Checks what is not chosen by a path: Hits that a handler has made."""


def in_force(counts: HitResults, metrics: RateLimitMetrics, scope: Scope | None = None) -> HitResults:
    """Return those of *counts* that may refuse; record what is refused, and what a policy on trial would refuse."""
    for take, count in counts:
        if count.allowed:
            continue
        if not take.dry:
            metrics.refused(take.rule.name)
            continue
        metrics.would_refuse(take.rule.name)
        if scope is not None:
            method, path = scope.get("method", "GET"), scope["path"]
            logger.info("policy %s would refuse %s %r", take.rule.name, method, path)
    return [(take, count) for take, count in counts if not take.dry]


def is_allowed(counts: HitResults) -> bool:
    """Return whether all of *counts* allow the request."""
    return all(count.allowed for _, count in counts)
