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
from scalekit_ratelimit.policies import Policies
from scalekit_ratelimit.rules import Count
from scalekit_ratelimit.shared import SharedLimits, Trip
from scalekit_ratelimit.single_limit import SingleLimit

Counts = dict[Take, Count]
Slack = int | asyncio.Future[Any] | None
"""The microseconds that one limit leaves, negative when it is reached, or what brings them; None: nobody counts."""


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

    def start_check(self, takes: Sequence[Take]) -> Trip | Counts:
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

    def finish_check(self, trip: Trip) -> Trip | Counts:
        """Return what came of the question, whose reply is there, or another that was sent; raises Unavailable."""
        shared = self.shared
        if shared is None:  # the plugin has stopped meanwhile
            raise Unavailable("limits cannot be counted now")
        try:
            counts = shared.limits.receive(trip)
        except (RedisUnavailable, ReplyError) as error:
            self._note(shared, error)
            return self._without(shared, trip.takes)
        if not isinstance(counts, Trip):
            for take, count in counts.items():
                if not count.allowed:
                    self.memory.learn_refusal(take.rule, take.who, count.reset)
        return counts

    def start_single_check(self, limit: SingleLimit, who: str) -> Slack:
        """Return the slack of one limit, or what brings it; None where nobody counts; raises Unavailable."""
        shared = self.shared
        if shared is None:
            return self.memory.take_one(limit.rule, who, limit.taken)
        if shared.breaker.trouble:
            return self._single_without(limit, who, shared)
        try:
            return shared.limits.send_one(limit, who)
        except RedisUnavailable:
            return self._single_without(limit, who, shared)

    def finish_single_check(self, limit: SingleLimit, who: str, reply: asyncio.Future[Any]) -> Slack:
        """Return the slack that *reply* has brought, or what was sent in its place; raises Unavailable."""
        shared = self.shared
        if shared is None:  # the plugin has stopped meanwhile
            raise Unavailable("limits cannot be counted now")
        try:
            slack: int = reply.result()
        except ReplyError as error:
            if error.code == "NOSCRIPT":
                return shared.limits.teach_one(limit, who)
            self._note(shared, error)
        except RedisUnavailable as error:
            self._note(shared, error)
        else:
            if slack < 0:
                self.memory.learn_refusal(limit.rule, who, limit.rule.tolerance - limit.taken - slack)
            return slack
        return self._single_without(limit, who, shared)

    def _note(self, shared: Shared, error: RedisUnavailable | ReplyError) -> None:
        if isinstance(error, RedisUnavailable) and error.kind in ("late", "lost"):
            self.metrics.late()
        shared.breaker.note(error)

    def _single_without(self, limit: SingleLimit, who: str, shared: Shared) -> int | None:
        return self.memory.take_one(limit.rule, who, limit.taken) if self._counts_here(shared) else None

    async def take(self, takes: Sequence[Take]) -> Counts:
        """Take, wherever it is counted; raises Unavailable."""
        counts = self.start_check(takes)
        while isinstance(counts, Trip):
            await asyncio.wait([counts.reply])
            counts = self.finish_check(counts)
        return counts

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
