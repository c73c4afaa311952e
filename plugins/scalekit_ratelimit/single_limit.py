"""The check of requests that are subject to exactly one GCRA limit, as most are.

Of GCRA all follows from one number, the slack: the microseconds that are left of the tolerance, or below zero by how
much a request is too early. Headers and responses are made once for each pair of what remains and when, and remembered.
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
    """A *rule* that counts by GCRA, of which each request takes *cost*; ``takes`` returns the key of a client.

    It is a Check: what a request takes of it is that key, and the result is the slack.
    """

    __slots__ = ("_headers", "_interval", "_responses", "_tolerance", "rule", "taken", "takes")

    def __init__(self, rule: Limit, cost: int, count: KeyFunc) -> None:
        self.rule = rule
        self.takes = count
        self.taken = cost * rule.interval
        self._interval = rule.interval
        self._tolerance = rule.tolerance
        self._headers = Memo(self._make_headers)
        self._responses = Memo(self._make_response)

    def take(self, memory: MemoryLimiter, takes: str) -> int:
        """Take from *memory*."""
        return memory.take_one(self.rule, takes, self.taken)

    def send(self, shared: RedisLimiter, takes: str) -> asyncio.Future[Any]:
        """Ask Redis to take."""
        return shared.send_one(self, takes)

    def receive(self, shared: RedisLimiter, takes: str, reply: asyncio.Future[Any]) -> int:
        """Return the slack."""
        slack: int = reply.result()
        return slack

    def learn(self, memory: MemoryLimiter, takes: str, result: int) -> None:
        """Note that the limit is reached."""
        if result < 0:
            memory.learn_refusal(self.rule, takes, self._tolerance - self.taken - result)

    def decide(self, exchange: Exchange, result: int, metrics: RateLimitMetrics) -> LocalResponse | None:
        """Return the 429, of which nothing was taken, or add headers."""
        if result >= 0:
            seconds = -((result - self._tolerance) // MICROSECONDS)
            exchange.added_headers += self._headers[result // self._interval, seconds]
            return None
        metrics.refused(self.rule.name)
        return self._responses[max(0, result + self.taken) // self._interval, -(result // MICROSECONDS)]

    def _make_headers(self, remaining: int, seconds: int) -> tuple[Header, Header]:
        state = self.rule.quoted + b";r=%d;t=%d" % (remaining, seconds)
        return (b"ratelimit-policy", self.rule.field), (b"ratelimit", state)

    def _make_response(self, remaining: int, seconds: int) -> LocalResponse:
        name = self.rule.name
        members: dict[str, Any] = {"type": QUOTA_EXCEEDED, "violated-policies": [name]}
        response = ProblemResponse(429, f"too many requests: {name}", headers={"retry-after": str(seconds)}, **members)
        headers = [*response.raw_headers, *self._make_headers(remaining, seconds)]
        return LocalResponse(429, headers, bytes(response.body))
