"""The check of requests that are subject to exactly one GCRA limit, as most are.

Of GCRA all follows from one number, the slack: the microseconds that are left of the tolerance, or below zero by how
much a request is too early. Headers and responses are made once for each pair of what remains and when, and remembered.
"""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from scalekit import Exchange, LocalResponse
from scalekit.problem import ProblemResponse
from scalekit.redis import ReplyError
from scalekit_ratelimit.counting import Counter
from scalekit_ratelimit.headers import QUOTA_EXCEEDED, Header
from scalekit_ratelimit.memory import MemoryLimits
from scalekit_ratelimit.metrics import Metrics
from scalekit_ratelimit.rules import MICROSECONDS, Rule
from scalekit_ratelimit.shared import SharedLimits

REMEMBERED = 4096
"""Headers and responses that are remembered of each limit."""

K = TypeVar("K")
V = TypeVar("V")


class SingleLimit:
    """A *rule* that counts by GCRA, of which each request takes *cost*; ``takes`` returns the key of a client.

    It is a Check: what a request takes of it is that key, and the result is the slack.
    """

    __slots__ = ("_headers", "_responses", "cost", "interval", "policy", "rule", "taken", "takes")

    def __init__(self, rule: Rule, cost: int, count: Counter) -> None:
        self.rule = rule
        self.cost = cost
        self.takes = count
        self.interval = rule.interval
        self.taken = cost * rule.interval
        self.policy = (b"ratelimit-policy", rule.field)
        self._headers: dict[tuple[int, int], tuple[Header, Header]] = {}
        self._responses: dict[tuple[int, int], LocalResponse] = {}

    def take(self, memory: MemoryLimits, takes: str) -> int:
        """Take from *memory*."""
        return memory.take_one(self.rule, takes, self.taken)

    def send(self, shared: SharedLimits, takes: str) -> asyncio.Future[Any]:
        """Ask Redis to take."""
        return shared.send_one(self, takes)

    def receive(self, shared: SharedLimits, takes: str, reply: asyncio.Future[Any]) -> int | asyncio.Future[Any]:
        """Return the slack, or the reply to come."""
        try:
            slack: int = reply.result()
        except ReplyError as error:
            if error.code != "NOSCRIPT":
                raise
            return shared.teach_one(self, takes)
        return slack

    def learn(self, memory: MemoryLimits, takes: str, result: int) -> None:
        """Note that the limit is reached."""
        if result < 0:
            memory.learn_refusal(self.rule, takes, self.rule.tolerance - self.taken - result)

    def decide(self, exchange: Exchange, result: int, metrics: Metrics) -> LocalResponse | None:
        """Return the 429, or add headers."""
        if result >= 0:
            exchange.added_headers += self.headers(result)
            return None
        metrics.refused(self.rule.name)
        return self.too_many_requests(result)

    def headers(self, slack: int) -> tuple[Header, Header]:
        """Return the headers of a request that may pass."""
        told = (slack // self.interval, (slack - self.rule.tolerance) // MICROSECONDS)
        found = self._headers.get(told)
        if found is None:
            found = remember(self._headers, told, (self.policy, self._state(told[0], -told[1])))
        return found

    def too_many_requests(self, slack: int) -> LocalResponse:
        """Return the response to a request that may not pass, of which nothing was taken."""
        told = (max(0, slack + self.taken) // self.interval, slack // MICROSECONDS)
        found = self._responses.get(told)
        if found is None:
            found = remember(self._responses, told, self._refused(told[0], -told[1]))
        return found

    def _refused(self, remaining: int, wait: int) -> LocalResponse:
        name = self.rule.name
        members: dict[str, Any] = {"type": QUOTA_EXCEEDED, "violated-policies": [name]}
        response = ProblemResponse(429, f"too many requests: {name}", headers={"retry-after": str(wait)}, **members)
        headers = [*response.raw_headers, self.policy, self._state(remaining, wait)]
        return LocalResponse(429, headers, bytes(response.body))

    def _state(self, remaining: int, seconds: int) -> Header:
        return (b"ratelimit", self.rule.quoted + b";r=%d;t=%d" % (remaining, seconds))


def remember(known: dict[K, V], key: K, value: V) -> V:
    """Return *value*, which *known* has from now on; it forgets all when it is full."""
    if len(known) >= REMEMBERED:
        known.clear()
    known[key] = value
    return value
