"""Count where the file says, and do what it says while that is gone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

from scalekit.redis import Redis, RedisUnavailable, ReplyError
from scalekit.resilience import Unavailable
from scalekit_ratelimit.memory import MemoryLimits, Take
from scalekit_ratelimit.metrics import Metrics
from scalekit_ratelimit.only import Only
from scalekit_ratelimit.policies import Policies
from scalekit_ratelimit.rules import Count
from scalekit_ratelimit.shared import SharedLimits, Trip

logger = logging.getLogger("scalekit.ratelimit")

Counts = dict[Take, Count]
Asked = int | asyncio.Future[Any] | None
"""The room of one limit, or what brings it, or None where nobody counts."""


class Breaker:
    """Keeps requests away from *redis* once it was late, until it answers a question of ours, asked every *pause*."""

    def __init__(self, redis: Redis, pause: float) -> None:
        self.trouble = ""
        self._redis = redis
        self._pause = pause
        self._tripped = asyncio.Event()

    def trip(self, trouble: str) -> None:
        """Keep everybody away from now on."""
        if not self.trouble:
            logger.warning("limits are not counted on redis: %s", trouble)
        self.trouble = trouble
        self._tripped.set()

    def note(self, error: RedisUnavailable | ReplyError) -> None:
        """Keep everybody away where *error* says that Redis was late or does not understand."""
        if isinstance(error, ReplyError) or error.kind == "late":
            self.trip(str(error))

    async def probe(self) -> None:
        """Return when Redis answers; raises RedisUnavailable."""
        await self._redis.probe(deadline=self._pause)

    @asynccontextmanager
    async def watching(self) -> AsyncGenerator[None, None]:
        """Ask Redis, while inside, whether it is back."""
        task = asyncio.create_task(self._watch(), name="scalekit: ratelimit")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _watch(self) -> None:
        while True:
            await self._tripped.wait()
            await asyncio.sleep(self._pause)
            try:
                await self.probe()
            except (RedisUnavailable, ReplyError) as error:
                self.trouble = str(error)
                continue
            self.trouble = ""
            self._tripped.clear()
            logger.info("limits are counted on redis again")


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
            return await shared.limits.receive(trip)
        except (RedisUnavailable, ReplyError) as error:
            shared.breaker.note(error)
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
            return await reply  # type: ignore[no-any-return]
        except ReplyError as error:
            if error.code == "NOSCRIPT":
                return await self.finish_one(only, who, shared, shared.limits.teach_one(only, who))
            shared.breaker.note(error)
        except RedisUnavailable as error:
            shared.breaker.note(error)
        return self._one_without(only, who, shared)

    def _one_without(self, only: Only, who: str, shared: Shared) -> int | None:
        if self._counts_here(shared):
            return self.memory.take_one(only.rule, who, only.taken)
        return None

    async def take(self, takes: Sequence[Take]) -> Counts:
        """Take, wherever it is counted; raises Unavailable."""
        begun = self.begin(takes)
        return await self.finish(begun) if isinstance(begun, Trip) else begun

    def _without(self, shared: Shared, takes: Sequence[Take]) -> Counts:
        return dict(zip(takes, self.memory.take(takes), strict=True)) if self._counts_here(shared) else {}

    def _counts_here(self, shared: Shared) -> bool:
        """Tell whether this process counts while Redis is gone, rather than nobody; raises Unavailable."""
        self.metrics.failed(shared.on_error)
        if shared.on_error == "refuse":
            raise Unavailable("limits cannot be counted now")
        return shared.on_error == "local"
