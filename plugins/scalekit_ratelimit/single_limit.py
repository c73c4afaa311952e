"""The check of requests that are subject to exactly one GCRA limit, as most are.

Of GCRA all follows from one number, the slack: the microseconds that are left of the tolerance, or below zero by how
much a request is too early. Headers and responses are made once for each pair of what remains and when, and remembered.
"""

from __future__ import annotations

from typing import Any, TypeVar

from scalekit import LocalResponse
from scalekit.problem import ProblemResponse
from scalekit_ratelimit.counting import Counter
from scalekit_ratelimit.rules import MICROSECONDS, Rule

QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"
REMEMBERED = 4096
"""Headers and responses that are remembered of each limit."""

Field = tuple[bytes, bytes]
K = TypeVar("K")
V = TypeVar("V")


class SingleLimit:
    """A *rule* that counts by GCRA, of which each request takes *cost*, and the headers that tell clients of it."""

    __slots__ = ("_headers", "_responses", "cost", "count", "interval", "policy", "rule", "taken")

    def __init__(self, rule: Rule, cost: int, count: Counter) -> None:
        self.rule = rule
        self.cost = cost
        self.count = count
        self.interval = rule.interval
        self.taken = cost * rule.interval
        self.policy = (b"ratelimit-policy", rule.field)
        self._headers: dict[tuple[int, int], tuple[Field, Field]] = {}
        self._responses: dict[tuple[int, int], LocalResponse] = {}

    def headers(self, slack: int) -> tuple[Field, Field]:
        """Return the headers of a request that may pass."""
        told = (slack // self.interval, (slack - self.rule.tolerance) // MICROSECONDS)
        found = self._headers.get(told)
        if found is None:
            state = (b"ratelimit", self.rule.quoted + b";r=%d;t=%d" % (told[0], -told[1]))
            found = remember(self._headers, told, (self.policy, state))
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
        state = (b"ratelimit", self.rule.quoted + b";r=%d;t=%d" % (remaining, wait))
        return LocalResponse(429, [*response.raw_headers, self.policy, state], bytes(response.body))


def remember(known: dict[K, V], key: K, value: V) -> V:
    """Return *value*, which *known* has from now on; it forgets all when it is full."""
    if len(known) >= REMEMBERED:
        known.clear()
    known[key] = value
    return value
