"""Keep requests away from a Redis that is silent, and tell when that is more than a moment."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from time import monotonic

from scalekit import Unavailable
from scalekit_redis import Redis, RedisUnavailable, ReplyError

logger = logging.getLogger("scalekit.ratelimit")

PATIENCE = 2.0
"""Seconds of trouble after which health tells of it: one late answer on a busy machine is none of its business."""
CALM = 1.0
"""Seconds without trouble after which trouble is over; what comes sooner is the same again."""


class CircuitBreaker:
    """Keeps requests away from *redis* once it is silent, until it answers a question of ours, asked every *pause*.

    A late answer alone does not tell that: a question of ours follows it, with the same *deadline*, and requests go on
    meanwhile. Only when that is not answered either is everybody kept away.
    """

    def __init__(self, redis: Redis, pause: float, deadline: float, clock: Callable[[], float] = monotonic) -> None:
        self.trouble = ""
        self._redis = redis
        self._pause = pause
        self._deadline = deadline
        self._clock = clock
        self._reason = ""
        self._began = 0.0
        self._ended = float("-inf")
        self._doubted = asyncio.Event()

    def trip(self, trouble: str) -> None:
        """Keep everybody away from now on."""
        if not self.trouble:
            logger.warning("limits are not counted on redis, and not exact until they are again: %s", trouble)
            if not self._is_recent():
                self._began = self._clock()
        self.trouble = self._reason = trouble
        self._doubted.set()

    def close(self) -> None:
        """Let everybody through again."""
        self.trouble = ""
        self._ended = self._clock()
        self._doubted.clear()

    @property
    def lasting_trouble(self) -> str:
        """The trouble that there has been for some time, without a break worth the name; empty when there is none."""
        lasts = bool(self.trouble) or self._is_recent()
        return self._reason if lasts and self._clock() - self._began >= PATIENCE else ""

    def note(self, error: RedisUnavailable | ReplyError) -> None:
        """Keep everybody away where *error* says that Redis does not understand; ask it where it was late."""
        if isinstance(error, ReplyError):
            self.trip(str(error))
        elif error.kind == "timeout":
            self._doubted.set()

    async def check(self) -> None:
        """Return while limits are counted on Redis, a moment now and then aside; raises Unavailable."""
        if self.lasting_trouble:
            raise Unavailable(self.lasting_trouble)
        await self._redis.probe()

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
            await self._doubted.wait()
            await (self._come_back() if self.trouble else self._make_sure())

    async def _make_sure(self) -> None:
        """Trip when Redis is late twice in a row; while it is gone, requests learn that at once without a breaker."""
        self._doubted.clear()
        try:
            await self._redis.probe(timeout=self._deadline)
        except RedisUnavailable as error:
            if error.kind == "timeout":
                self.trip(str(error))
        except ReplyError as error:
            self.trip(str(error))

    async def _come_back(self) -> None:
        await asyncio.sleep(self._pause)
        try:
            await self._redis.probe(timeout=self._pause)
        except (RedisUnavailable, ReplyError) as error:
            self.trouble = self._reason = str(error)
            return
        self.close()
        logger.info("limits are counted on redis again")

    def _is_recent(self) -> bool:
        return self._clock() - self._ended < CALM
