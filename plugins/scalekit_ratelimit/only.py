"""The one limit that most requests have, and nothing else to look at.

Of GCRA all follows from one number, the room: the microseconds that are left of the tolerance, or below zero by how
much a request is too early. What is told of it is made once for each pair of what remains and when, and remembered.
"""

from __future__ import annotations

from typing import Any, TypeVar

from starlette.types import Message

from scalekit.problem import ProblemResponse
from scalekit_ratelimit.counting import Counter
from scalekit_ratelimit.rules import MICROSECONDS, Rule

QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"
REMEMBERED = 4096
"""Answers that are remembered of each limit."""

Field = tuple[bytes, bytes]
K = TypeVar("K")
V = TypeVar("V")


class Only:
    """A *rule* that counts by GCRA, of which each request takes *cost*, and what clients are told of it."""

    __slots__ = ("_fields", "_refusals", "cost", "count", "field", "interval", "rule", "taken")

    def __init__(self, rule: Rule, cost: int, count: Counter) -> None:
        self.rule = rule
        self.cost = cost
        self.count = count
        self.interval = rule.interval
        self.taken = cost * rule.interval
        self.field = (b"ratelimit-policy", rule.field)
        self._fields: dict[tuple[int, int], Field] = {}
        self._refusals: dict[tuple[int, int], tuple[list[Field], bytes]] = {}

    def standing(self, room: int) -> Field:
        """Return the field that tells how it stands, where something was taken."""
        told = (room // self.interval, (room - self.rule.tolerance) // MICROSECONDS)
        found = self._fields.get(told)
        if found is None:
            found = remember(self._fields, told, (b"ratelimit", self.rule.quoted + b";r=%d;t=%d" % (told[0], -told[1])))
        return found

    def refusal(self, room: int) -> tuple[Message, Message]:
        """Return the answer where nothing was taken."""
        told = (max(0, room + self.taken) // self.interval, room // MICROSECONDS)
        found = self._refusals.get(told)
        if found is None:
            found = remember(self._refusals, told, self._refused(told[0], -told[1]))
        fields, body = found
        start = {"type": "http.response.start", "status": 429, "headers": fields.copy()}
        return start, {"type": "http.response.body", "body": body}

    def _refused(self, remaining: int, wait: int) -> tuple[list[Field], bytes]:
        name = self.rule.name
        members: dict[str, Any] = {"type": QUOTA_EXCEEDED, "violated-policies": [name]}
        response = ProblemResponse(429, f"too many requests: {name}", headers={"retry-after": str(wait)}, **members)
        standing = (b"ratelimit", self.rule.quoted + b";r=%d;t=%d" % (remaining, wait))
        return [*response.raw_headers, self.field, standing], bytes(response.body)


def remember(known: dict[K, V], key: K, value: V) -> V:
    """Return *value*, which *known* has from now on; it forgets all when it is full."""
    if len(known) >= REMEMBERED:
        known.clear()
    known[key] = value
    return value
