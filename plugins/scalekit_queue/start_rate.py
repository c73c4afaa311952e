"""The rate at which the handlers of a consumer start: that of this process, and that of a policy that all share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextvars import Context
from time import monotonic

from starlette.exceptions import HTTPException

from scalekit import Context as ServiceContext
from scalekit import StartError, Unavailable
from scalekit.contracts import LIMITS, Consumer, Limits
from scalekit_queue.task_group import BackgroundTaskGroup

MAX_WAIT = 60.0
"""Seconds after which a refused hit is repeated at the latest: the limit may have been reset."""


class StartRate:
    """Allows starts as the ``rate`` and the ``limit_policy`` of *consumer* do; *limits* counts those of the policy.

    When a start is allowed that was not, *on_allowed* is called.
    """

    def __init__(self, consumer: Consumer, limits: Limits | None, on_allowed: Callable[[], None]) -> None:
        self._interval = 0.0 if consumer.rate is None else consumer.rate.period / consumer.rate.limit
        self._name = consumer.name
        self._policy = consumer.limit_policy
        self._limits = limits
        self._on_allowed = on_allowed
        self._next_start = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._hits = BackgroundTaskGroup()
        self._has_hit = False
        """Whether a hit was counted for the next start."""

    def may_start(self) -> bool:
        """Return whether a handler may start now; if not, *on_allowed* is called as soon as it may."""
        if self._interval and not self._is_due():
            return False
        if self._limits is None or self._policy is None or self._has_hit:
            return True
        if not self._hits:
            # Without the context of the caller, which may be a request that has limits of its own.
            hit = Context().run(self._hits.start, self._hit(self._limits, self._policy))
            hit.add_done_callback(self._on_hit)
        return False

    def count_start(self) -> None:
        """Count a handler that starts."""
        self._next_start += self._interval
        self._has_hit = False

    async def close(self) -> None:
        """Allow no more starts."""
        if self._timer is not None:
            self._timer.cancel()
        await self._hits.cancel()

    def _is_due(self) -> bool:
        now = monotonic()
        self._next_start = max(self._next_start, now)
        if self._next_start > now and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._next_start - now, self._on_timer)
        return self._next_start <= now

    def _on_timer(self) -> None:
        self._timer = None
        self._on_allowed()

    def _on_hit(self, hit: asyncio.Task[object]) -> None:
        if not hit.cancelled() and hit.exception() is None:
            self._has_hit = True
            self._on_allowed()

    async def _hit(self, limits: Limits, policy: str) -> None:
        """Wait until a hit is counted, also while the store of limits is unavailable."""
        while True:
            try:
                await limits.hit(policy, self._name)
                return
            except HTTPException as error:  # the limit is exceeded, or the store is unavailable
                headers = {name.lower(): value for name, value in (error.headers or {}).items()}
                await asyncio.sleep(min(MAX_WAIT, float(headers.get("retry-after", 1))))


async def verify_limit_policies(consumers: Iterable[Consumer], context: ServiceContext) -> None:
    """Raise StartError when a consumer has a ``limit_policy`` that the plugin ratelimit does not have."""
    for consumer in consumers:
        if consumer.limit_policy is not None:
            try:
                await context.get(LIMITS).remaining(consumer.limit_policy, consumer.name)
            except ValueError as error:
                raise StartError(f"limit_policy of the consumer of {consumer.name!r}: {error}") from None
            except Unavailable:
                continue  # it is verified by the first message then
