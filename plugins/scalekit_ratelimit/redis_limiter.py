"""Count on Redis, for all instances together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from scalekit_ratelimit.gcra import Limit, LimitState
from scalekit_ratelimit.headers import HitResults
from scalekit_ratelimit.memory_limiter import Hit
from scalekit_redis import PreparedScript, Redis, Script

if TYPE_CHECKING:
    from scalekit_ratelimit.single_limit import SingleLimit

COMBINED_LIMITS = Script(files("scalekit_ratelimit").joinpath("combined_limits.lua").read_text())
GCRA = Script(files("scalekit_ratelimit").joinpath("gcra.lua").read_text())

PREFIX = "scalekit:ratelimit:"

Parts = Sequence[tuple[Sequence[Hit], asyncio.Future[Any]]]
"""Hits of each slot, and the reply to come."""


class PendingHits:
    """What one request takes of several limits, and the replies to come once it was sent to Redis."""

    __slots__ = ("parts", "takes")

    def __init__(self, takes: Sequence[Hit]) -> None:
        self.takes = takes
        self.parts: Parts = []

    def sent(self, parts: Parts) -> asyncio.Future[Any]:
        """Note the *parts* in which it was sent; return what is done once each of them has its reply."""
        self.parts = parts
        replies = [reply for _, reply in parts]
        return replies[0] if len(replies) == 1 else asyncio.gather(*replies, return_exceptions=True)


class RedisLimiter:
    """Take from what *redis* keeps; in a *cluster* each one that is counted by has a slot, and a script, of its own."""

    def __init__(self, redis: Redis, cluster: bool) -> None:
        self._redis = redis
        self._cluster = cluster
        self._prepared: dict[SingleLimit, PreparedScript] = {}

    def send_one(self, limit: SingleLimit, who: str) -> asyncio.Future[Any]:
        """Ask to take from one limit, and for the room; raises RedisUnavailable where that cannot be."""
        return self._script(limit).run(_key(who, limit.rule))

    def _script(self, limit: SingleLimit) -> PreparedScript:
        found = self._prepared.get(limit)
        if found is None:
            found = self._prepared[limit] = self._redis.prepare(GCRA, (limit.taken, limit.rule.tolerance))
        return found

    def send(self, takes: PendingHits) -> asyncio.Future[Any]:
        """Ask to take from all or, in each slot, from none; raises RedisUnavailable where that cannot be."""
        parts = by_slot(takes.takes) if self._cluster and len(takes.takes) > 1 else [takes.takes]
        return takes.sent([(part, self._send(part)) for part in parts])

    def receive(self, takes: PendingHits) -> HitResults:
        """Return how each of *takes*, whose replies are there, stands; raises as scalekit_redis does."""
        replies = [(part, _counts(reply.result())) for part, reply in takes.parts]
        return [each for part, counts in replies for each in zip(part, counts, strict=True)]

    async def forget(self, takes: Sequence[Hit]) -> None:
        """Forget what was taken by one who is counted; raises as scalekit_redis does."""
        await self._redis.delete(*map(key_of, takes))

    def _send(self, takes: Sequence[Hit]) -> asyncio.Future[Any]:
        return self._redis.start_script(COMBINED_LIMITS, *_asked(takes))


def _counts(found: Sequence[int]) -> list[LimitState]:
    return [LimitState(bool(found[at]), *found[at + 1 : at + 4]) for at in range(0, len(found), 4)]


def key_of(take: Hit) -> str:
    """Return the key of *take*: what is counted by stands in braces, so that all limits on it share a slot."""
    return _key(take.who, take.rule)


def _key(who: str, rule: Limit) -> str:
    return f"{PREFIX}{{{who}}}{rule.key_suffix}"


def by_slot(takes: Sequence[Hit]) -> Sequence[Sequence[Hit]]:
    """Return *takes* in groups that share a slot."""
    groups: dict[str, list[Hit]] = {}
    for take in takes:
        groups.setdefault(take.who, []).append(take)
    return list(groups.values())


def _asked(takes: Sequence[Hit]) -> tuple[list[str], list[str | int]]:
    words: list[str | int] = []
    for rule, _, cost, dry in takes:
        if rule.algorithm == "gcra":
            words += ("g", rule.interval, rule.tolerance, cost, int(dry))
        else:
            words += ("s", rule.limit, rule.period, cost, int(dry))
    return [key_of(take) for take in takes], words
