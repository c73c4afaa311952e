"""Circuit breaker that stops sending to Redis when it does not reply, and the health check of the limits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from time import monotonic

from scalekit import Unavailable, background_task
from scalekit_redis import Redis, RedisUnavailable, ReplyError

logger = logging.getLogger("scalekit.ratelimit")

UNHEALTHY_AFTER = 2.0
"""Seconds of failure after which the health check fails: one timeout on a busy machine is not an outage."""
RECOVERED_AFTER = 1.0
"""Seconds without failure after which an outage has ended; an earlier failure continues it."""


class CircuitBreaker:
    """Opens when *redis* does not reply, and closes when a probe, sent every *retry_interval* seconds, succeeds.

    A single timeout does not open it: a probe with the same *timeout* follows, while requests are still sent. The
    circuit opens only when that times out too.
    """

    def __init__(
        self, redis: Redis, retry_interval: float, timeout: float, clock: Callable[[], float] = monotonic
    ) -> None:
        self.error = ""
        """Why the circuit is open; empty while it is closed."""
        self._redis = redis
        self._retry_interval = retry_interval
        self._timeout = timeout
        self._clock = clock
        self._last_error = ""
        self._opened_at = 0.0
        self._closed_at = float("-inf")
        self._probe_needed = asyncio.Event()

    def trip(self, error: str) -> None:
        """Open the circuit."""
        if not self.error:
            logger.warning("circuit opened, rate limits are not exact until redis replies again: %s", error)
            if not self._closed_recently():
                self._opened_at = self._clock()
        self.error = self._last_error = error
        self._probe_needed.set()

    def close(self) -> None:
        """Close the circuit."""
        self.error = ""
        self._closed_at = self._clock()
        self._probe_needed.clear()

    @property
    def persistent_error(self) -> str:
        """The error of an outage that has lasted UNHEALTHY_AFTER seconds; empty when there is none."""
        in_outage = bool(self.error) or self._closed_recently()
        return self._last_error if in_outage and self._clock() - self._opened_at >= UNHEALTHY_AFTER else ""

    def record_failure(self, error: RedisUnavailable | ReplyError) -> None:
        """Open the circuit after an error reply; send a probe after a timeout."""
        if isinstance(error, ReplyError):
            self.trip(str(error))
        elif error.kind == "timeout":
            self._probe_needed.set()

    async def check_health(self) -> None:
        """Return when Redis replies to a probe; raises Unavailable during an outage, RedisUnavailable otherwise."""
        if self.persistent_error:
            raise Unavailable(self.persistent_error)
        await self._redis.probe()

    def run_probes(self) -> AbstractAsyncContextManager[None]:
        """Return a context manager inside which Redis is probed when needed."""
        return background_task(self._probe_when_needed(), "ratelimit")

    async def _probe_when_needed(self) -> None:
        while True:
            await self._probe_needed.wait()
            await (self._try_to_close() if self.error else self._confirm_timeout())

    async def _confirm_timeout(self) -> None:
        """Open the circuit when a second command times out; requests see a refused connection without a breaker."""
        self._probe_needed.clear()
        try:
            await self._redis.probe(timeout=self._timeout)
        except RedisUnavailable as error:
            if error.kind == "timeout":
                self.trip(str(error))
        except ReplyError as error:
            self.trip(str(error))

    async def _try_to_close(self) -> None:
        await asyncio.sleep(self._retry_interval)
        try:
            await self._redis.probe(timeout=self._retry_interval)
        except (RedisUnavailable, ReplyError) as error:
            self.error = self._last_error = str(error)
            return
        self.close()
        logger.info("circuit closed, rate limits are exact again: redis replies")

    def _closed_recently(self) -> bool:
        return self._clock() - self._closed_at < RECOVERED_AFTER
