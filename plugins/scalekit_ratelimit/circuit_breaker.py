"""Circuit breaker that stops sending to a shared store when it does not reply, and the health check of the limits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from time import monotonic

from scalekit import Unavailable, background_task
from scalekit_ratelimit.shared_limiter import STORE_ERRORS, SharedLimiter
from scalekit_redis import RedisUnavailable

logger = logging.getLogger("scalekit.ratelimit")

UNHEALTHY_AFTER = 2.0
"""Seconds of failure after which the health check fails: one timeout on a busy machine is not an outage."""
RECOVERED_AFTER = 1.0
"""Seconds without failure after which an outage has ended; an earlier failure continues it."""


class CircuitBreaker:
    """Opens when *shared* does not reply, and closes when a probe, sent every *retry_interval* seconds, succeeds.

    A single timeout does not open it: a probe with the same *timeout* follows, while requests are still sent. The
    circuit opens only when that times out too.
    """

    def __init__(
        self, shared: SharedLimiter, retry_interval: float, timeout: float, clock: Callable[[], float] = monotonic
    ) -> None:
        self.error = ""
        """Why the circuit is open; empty while it is closed."""
        self._shared = shared
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
            logger.warning(
                "circuit opened, rate limits are not exact until %s replies again: %s", self._shared.store, error
            )
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

    def record_failure(self, error: Exception) -> None:
        """Send a probe after a timeout; open the circuit after another error that a retry would wait for.

        Redis refuses a command at once while there is no connection, which needs no circuit breaker.
        """
        if getattr(error, "kind", "") == "timeout":
            self._probe_needed.set()
        elif not isinstance(error, RedisUnavailable) and getattr(error, "kind", "") != "full":
            self.trip(str(error))

    async def check_health(self) -> None:
        """Return when the store replies to a probe; raises Unavailable during an outage, else its error."""
        if self.persistent_error:
            raise Unavailable(self.persistent_error)
        await self._shared.probe()

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
            await self._shared.probe(timeout=self._timeout)
        except STORE_ERRORS as error:
            if getattr(error, "kind", "") == "timeout" or not isinstance(error, RedisUnavailable):
                self.trip(str(error))

    async def _try_to_close(self) -> None:
        await asyncio.sleep(self._retry_interval)
        try:
            await self._shared.probe(timeout=max(self._retry_interval, self._timeout))
        except STORE_ERRORS as error:
            self.error = self._last_error = str(error)
            return
        self.close()
        logger.info("circuit closed, rate limits are exact again: %s replies", self._shared.store)

    def _closed_recently(self) -> bool:
        return self._clock() - self._closed_at < RECOVERED_AFTER
