"""Count where the file says, and do what it says while that is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from scalekit.redis import RedisUnavailable, ReplyError
from scalekit.resilience import Unavailable
from scalekit_ratelimit.breaker import Breaker
from scalekit_ratelimit.memory import MemoryLimits, Take
from scalekit_ratelimit.metrics import Metrics
from scalekit_ratelimit.only import Only
from scalekit_ratelimit.policies import Policies
from scalekit_ratelimit.rules import Count
from scalekit_ratelimit.shared import SharedLimits, Trip

Counts = dict[Take, Count]
Asked = int | asyncio.Future[Any] | None
"""The room of one limit, or what brings it, or None where nobody counts."""


@dataclass(frozen=True)
class Shared:
    """Where all instances count, and what is done while that is gone."""

    limits: SharedLimits
    breaker: Breaker
    on_error: Literal["local", "allow", "refuse"]


class Limits:
    """The policies, and where they are counted: in *memory*, or where it is *shared* while that is there."""

    def __init__(
        self, policies: Policies, memory: MemoryLimits, shared: Shared | None, metrics: Metrics, legacy: bool
    ) -> None:
        self.policies = policies
        self.memory = memory
        self.shared = shared
        self.metrics = metrics
        self.legacy = legacy

    def begin(self, takes: Sequence[Take]) -> Trip | Counts:
        """Return how each stands, or the question that has been sent to find out; raises Unavailable."""
        shared = self.shared
        if shared is None:
            return dict(zip(takes, self.memory.take(takes), strict=True))
        if shared.breaker.trouble:
            return self._without(shared, takes)
        try:
            return shared.limits.send(takes)
        except RedisUnavailable:
            return self._without(shared, takes)

    async def finish(self, trip: Trip) -> Counts:
        """Return what came of the question; raises Unavailable."""
        shared = self.shared
        if shared is None:
            raise RuntimeError("nothing was sent")
        try:
            counts = await shared.limits.receive(trip)
            for take, count in counts.items():
                if not count.allowed:
                    self.memory.learn_refusal(take.rule, take.who, count.reset)
            return counts
        except (RedisUnavailable, ReplyError) as error:
            self._note(shared, error)
        return self._without(shared, [take for takes, _ in trip.parts for take in takes])

    def begin_one(self, only: Only, who: str, shared: Shared) -> Asked:
        """Return the question that has been sent for one limit, or what is known without; raises Unavailable."""
        if shared.breaker.trouble:
            return self._one_without(only, who, shared)
        try:
            return shared.limits.send_one(only, who)
        except RedisUnavailable:
            return self._one_without(only, who, shared)

    async def finish_one(self, only: Only, who: str, shared: Shared, reply: asyncio.Future[Any]) -> int | None:
        """Return the room, None where nobody counts; raises Unavailable."""
        try:
            room: int = await reply
            if room < 0:
                self.memory.learn_refusal(only.rule, who, only.rule.tolerance - only.taken - room)
            return room
        except (RedisUnavailable, ReplyError) as error:
            self._note(shared, error)
        return self._one_without(only, who, shared)

    def _note(self, shared: Shared, error: RedisUnavailable | ReplyError) -> None:
        if isinstance(error, RedisUnavailable) and error.kind in ("late", "lost"):
            self.metrics.late()
        shared.breaker.note(error)

    def _one_without(self, only: Only, who: str, shared: Shared) -> int | None:
        if self._counts_here(shared):
            return self.memory.take_one(only.rule, who, only.taken)
        return None

    async def take(self, takes: Sequence[Take]) -> Counts:
        """Take, wherever it is counted; raises Unavailable."""
        begun = self.begin(takes)
        return await self.finish(begun) if isinstance(begun, Trip) else begun

    async def forget(self, takes: Sequence[Take]) -> None:
        """Forget what was taken, as far as that can be now."""
        for take in takes:
            self.memory.forget(take)
        shared = self.shared
        if shared is not None and not shared.breaker.trouble:
            try:
                await shared.limits.forget(takes)
            except (RedisUnavailable, ReplyError) as error:
                shared.breaker.note(error)

    def _without(self, shared: Shared, takes: Sequence[Take]) -> Counts:
        return dict(zip(takes, self.memory.take(takes), strict=True)) if self._counts_here(shared) else {}

    def _counts_here(self, shared: Shared) -> bool:
        """Tell whether this process counts while Redis is gone, rather than nobody; raises Unavailable."""
        self.metrics.failed(shared.on_error)
        if shared.on_error == "refuse":
            raise Unavailable("limits cannot be counted now")
        return shared.on_error == "local"
