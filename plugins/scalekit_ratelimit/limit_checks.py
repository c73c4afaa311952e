"""Check a request against its limits, whether they are counted in memory or in a shared store.

SingleLimit is the fast path for requests that are subject to exactly one GCRA limit, as most are.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from starlette.types import Scope

from scalekit import Exchange, LocalResponse, Memo, ProblemResponse, local_response
from scalekit_ratelimit.headers import (
    QUOTA_EXCEEDED,
    Header,
    HitResults,
    add_limit_headers,
    remove_legacy_headers,
    too_many_requests,
)
from scalekit_ratelimit.keys import KeyFunc
from scalekit_ratelimit.limit_statistics import LimitStatistics
from scalekit_ratelimit.limits import MICROSECONDS, Limit
from scalekit_ratelimit.memory_limiter import MemoryLimiter
from scalekit_ratelimit.metrics import RateLimitMetrics
from scalekit_ratelimit.shared_limiter import PendingHits, SharedLimiter

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

    def send(self, shared: SharedLimiter, hits: T) -> asyncio.Future[Any]:
        """Send *hits* and return the future of the reply; raises one of STORE_ERRORS."""
        ...

    def read_reply(self, shared: SharedLimiter, hits: T, reply: asyncio.Future[Any]) -> R:
        """Return the result of *reply*; raises one of STORE_ERRORS."""
        ...

    def record_refusal(self, memory: MemoryLimiter, hits: T, result: R) -> None:
        """Record refusals of the shared store in memory, so that they apply while it is unavailable."""
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

    def send(self, shared: SharedLimiter, hits: PendingHits) -> asyncio.Future[Any]:
        """Send the hits."""
        return shared.send_hits(hits)

    def read_reply(self, shared: SharedLimiter, hits: PendingHits, reply: asyncio.Future[Any]) -> HitResults:
        """Return the state of each limit."""
        return shared.read_replies(hits)

    def record_refusal(self, memory: MemoryLimiter, hits: PendingHits, result: HitResults) -> None:
        """Record each limit that is exceeded."""
        for hit, state in result:
            if not state.allowed:
                memory.record_refusal(hit.limit, hit.key, state.reset)

    def apply_decision(self, exchange: Exchange, result: HitResults, metrics: RateLimitMetrics) -> LocalResponse | None:
        """Return the 429 response, or add headers."""
        enforced = count_refusals(result, metrics, exchange.scope)
        if all_allowed(enforced):
            add_limit_headers(exchange.added_headers, enforced, self._legacy_headers)
            return None
        remove_legacy_headers(exchange.added_headers)  # the response has its own
        return local_response(too_many_requests(enforced, self._legacy_headers))


HANDLER_CHECK = CombinedCheck((), False)
"""Checks hits that a handler has prepared."""


def count_refusals(results: HitResults, metrics: RateLimitMetrics, scope: Scope | None = None) -> HitResults:
    """Count refusals in *metrics*, those of a dry run apart; return the *results* of policies without ``dry_run``."""
    if metrics.statistics is not None:
        metrics.statistics.record(results, scope)
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


class SingleLimit:
    """The check of one GCRA *limit*, of which each request costs *cost*; ``prepare`` is the key function.

    It is a LimitCheck whose hit is the key of the client and whose result is the slack: the unused microseconds of
    the tolerance or, below zero, how much too early the request is. Headers and responses follow from the slack; they
    are built once for each pair of remaining requests and seconds, and cached.
    """

    __slots__ = ("_emission_interval", "_headers", "_responses", "_tolerance", "increment", "limit", "prepare")

    def __init__(self, limit: Limit, cost: int, key_func: KeyFunc) -> None:
        self.limit = limit
        self.prepare = key_func
        self.increment = cost * limit.emission_interval
        self._emission_interval = limit.emission_interval
        self._tolerance = limit.tolerance
        self._headers = Memo(self._make_headers)
        self._responses = Memo(self._make_response)

    def hit_memory(self, memory: MemoryLimiter, hits: str) -> int:
        """Count the hit in memory."""
        return memory.hit_gcra(self.limit, hits, self.increment)

    def send(self, shared: SharedLimiter, hits: str) -> asyncio.Future[Any]:
        """Send the hit."""
        return shared.send_gcra(self, hits)

    def read_reply(self, shared: SharedLimiter, hits: str, reply: asyncio.Future[Any]) -> int:
        """Return the slack."""
        return shared.read_gcra(self, reply)

    def record_refusal(self, memory: MemoryLimiter, hits: str, result: int) -> None:
        """Record that the limit is exceeded."""
        if result < 0:
            memory.record_refusal(self.limit, hits, self._tolerance - self.increment - result)

    def apply_decision(self, exchange: Exchange, result: int, metrics: RateLimitMetrics) -> LocalResponse | None:
        """Return the 429 response, or add headers."""
        if result >= 0:
            seconds = -((result - self._tolerance) // MICROSECONDS)
            exchange.added_headers += self._headers[result // self._emission_interval, seconds]
            return None
        metrics.count_refused(self.limit.name)
        remaining = max(0, result + self.increment) // self._emission_interval
        return self._responses[remaining, -(result // MICROSECONDS)]

    def _make_headers(self, remaining: int, seconds: int) -> tuple[Header, Header]:
        state = self.limit.quoted_name + b";r=%d;t=%d" % (remaining, seconds)
        return (b"ratelimit-policy", self.limit.policy_item), (b"ratelimit", state)

    def _make_response(self, remaining: int, seconds: int) -> LocalResponse:
        name = self.limit.name
        members: dict[str, Any] = {"type": QUOTA_EXCEEDED, "violated-policies": [name]}
        response = ProblemResponse(429, f"too many requests: {name}", headers={"retry-after": str(seconds)}, **members)
        headers = [*response.raw_headers, *self._make_headers(remaining, seconds)]
        return LocalResponse(429, headers, bytes(response.body))


class RecordedLimit(SingleLimit):
    """A SingleLimit that records its decisions in *statistics*."""

    __slots__ = ("_statistics",)

    def __init__(self, limit: Limit, cost: int, key_func: KeyFunc, statistics: LimitStatistics) -> None:
        super().__init__(limit, cost, key_func)
        self._statistics = statistics

    def apply_decision(self, exchange: Exchange, result: int, metrics: RateLimitMetrics) -> LocalResponse | None:
        """Record the decision, and return the 429 response or add headers."""
        if result >= 0:
            self._statistics.record_allowed(self.limit)
        else:
            key = self.prepare(exchange.scope)
            self._statistics.record_refused(self.limit, key or "", False, exchange.scope)
        return super().apply_decision(exchange, result, metrics)
