"""Count on Redis, for all instances together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from scalekit.redis import PreparedScript, Redis, Script
from scalekit_ratelimit.memory import Take
from scalekit_ratelimit.only import Only
from scalekit_ratelimit.rules import Count, Rule

SCRIPT = Script(files("scalekit_ratelimit").joinpath("limits.lua").read_text())
GCRA = Script(files("scalekit_ratelimit").joinpath("gcra.lua").read_text())

PREFIX = "scalekit:ratelimit:"


class Trip:
    """A question that has been sent: the *takes* of each slot, and the reply to come."""

    __slots__ = ("parts",)

    def __init__(self, parts: list[tuple[Sequence[Take], asyncio.Future[Any]]]) -> None:
        self.parts = parts

    def abandon(self) -> None:
        """Let replies that nobody has waited for go nowhere."""
        for _, reply in self.parts:
            reply.cancel()


class SharedLimits:
    """Take from what *redis* keeps; in a *cluster* each one that is counted by has a slot, and a script, of its own."""

    def __init__(self, redis: Redis, cluster: bool) -> None:
        self._redis = redis
        self._cluster = cluster
        self._prepared: dict[Only, PreparedScript] = {}

    def send_one(self, only: Only, who: str) -> asyncio.Future[Any]:
        """Ask to take from one limit, and for the room; raises RedisUnavailable where that cannot be."""
        return self._script(only).begin(_key(who, only.rule))

    def _script(self, only: Only) -> PreparedScript:
        found = self._prepared.get(only)
        if found is None:
            found = self._prepared[only] = self._redis.prepare(GCRA, (only.taken, only.rule.tolerance))
        return found

    def send(self, takes: Sequence[Take]) -> Trip:
        """Ask to take from all or, in each slot, from none; raises RedisUnavailable where that cannot be."""
        if not self._cluster or len(takes) == 1:
            return Trip([(takes, self._send(takes))])
        return Trip([(part, self._send(part)) for part in by_slot(takes)])

    async def receive(self, trip: Trip) -> dict[Take, Count]:
        """Return how each stands; raises as scalekit.redis does."""
        if len(trip.parts) == 1:
            takes, reply = trip.parts[0]
            return dict(zip(takes, await self._reply(reply), strict=True))
        counts: dict[Take, Count] = {}
        replies = await asyncio.gather(*(self._reply(reply) for takes, reply in trip.parts))
        for (takes, _), part in zip(trip.parts, replies, strict=True):
            counts |= dict(zip(takes, part, strict=True))
        return counts

    async def forget(self, takes: Sequence[Take]) -> None:
        """Forget what was taken by one who is counted; raises as scalekit.redis does."""
        await self._redis.delete(*map(key_of, takes))

    def _send(self, takes: Sequence[Take]) -> asyncio.Future[Any]:
        return self._redis.begin(SCRIPT, *_asked(takes))

    async def _reply(self, reply: asyncio.Future[Any]) -> list[Count]:
        found = await reply
        return [Count(bool(found[at]), *found[at + 1 : at + 4]) for at in range(0, len(found), 4)]


def key_of(take: Take) -> str:
    """Return the key of *take*: what is counted by stands in braces, so that all limits on it share a slot."""
    return _key(take.who, take.rule)


def _key(who: str, rule: Rule) -> str:
    return f"{PREFIX}{{{who}}}:{rule.name}:{rule.algorithm[0]}"


def by_slot(takes: Sequence[Take]) -> list[list[Take]]:
    """Return *takes* in groups that share a slot."""
    groups: dict[str, list[Take]] = {}
    for take in takes:
        groups.setdefault(take.who, []).append(take)
    return list(groups.values())


def _asked(takes: Sequence[Take]) -> tuple[list[str], list[str | int]]:
    words: list[str | int] = []
    for rule, _, cost, dry in takes:
        if rule.algorithm == "gcra":
            words += ("g", rule.interval, rule.tolerance, cost, int(dry))
        else:
            words += ("s", rule.limit, rule.period, cost, int(dry))
    return [key_of(take) for take in takes], words
