"""Fast path for requests that are subject to exactly one GCRA limit, as most are.

Everything follows from one number, the slack: the microseconds left of the tolerance or, below zero, how much too early
the request is. Headers and responses are built once for each pair of remaining requests and seconds, and cached.
"""

from __future__ import annotations

import asyncio
from typing import Any

from scalekit import Exchange, LocalResponse, Memo, ProblemResponse
from scalekit_ratelimit.gcra import MICROSECONDS, Limit
from scalekit_ratelimit.headers import QUOTA_EXCEEDED, Header
from scalekit_ratelimit.keys import KeyFunc
from scalekit_ratelimit.memory_limiter import MemoryLimiter
from scalekit_ratelimit.metrics import RateLimitMetrics
from scalekit_ratelimit.redis_limiter import RedisLimiter


class SingleLimit:
    """The check of one GCRA *limit*, of which each request costs *cost*; ``prepare`` is the key function.

    It is a LimitCheck whose hit is the key of the client and whose result is the slack.
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

    def send_to_redis(self, redis: RedisLimiter, hits: str) -> asyncio.Future[Any]:
        """Send the hit to Redis."""
        return redis.send_gcra(self, hits)

    def read_reply(self, redis: RedisLimiter, hits: str, reply: asyncio.Future[Any]) -> int:
        """Return the slack."""
        slack: int = reply.result()
        return slack

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
