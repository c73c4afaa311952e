"""A service that is called: its instances, their load, its budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic

import aiohttp

from scalekit import Unavailable
from scalekit_discovery.load_balancer import Endpoint, LoadBalancer
from scalekit_discovery.metrics import ServiceMetrics
from scalekit_discovery.retry_budget import RetryBudget
from scalekit_discovery.watcher import ServiceWatcher


class NoHealthyInstance(Unavailable, aiohttp.ClientError):
    """A service has no instance that could be called."""


@dataclass(slots=True)
class Upstream:
    """What a call needs to know; times in seconds."""

    name: str
    session: aiohttp.ClientSession
    watch: ServiceWatcher
    targets: LoadBalancer
    budget: RetryBudget
    metrics: ServiceMetrics
    retries: int
    timeout: float
    attempt_timeout: float
    first_wait: float
    place: str

    async def wait_for_instances(self, end: float) -> None:
        """Wait until the instances are known for the first time; raises NoInstance when there are none."""
        if not self.watch.known:
            await self.watch.wait_until_known(min(self.first_wait, max(0.0, end - monotonic())))
        if not self.targets.all:
            self.metrics.refused.inc()
            raise NoHealthyInstance(f"{self.name}: {self._why_none()}")

    def choose(self, tried: Sequence[Endpoint]) -> Endpoint:
        """Return the target of the next attempt; raises NoInstance when none may be called."""
        target = self.targets.choose(tried, monotonic())
        if target is None:
            self.metrics.refused.inc()
            why = "every instance fails, and is left alone for a moment" if self.targets.all else self._why_none()
            raise NoHealthyInstance(f"{self.name}: {why}")
        return target

    def may_retry(self) -> bool:
        """Take a retry out of the budget; tell whether there was one."""
        allowed = self.budget.take(monotonic())
        (self.metrics.retries if allowed else self.metrics.refused_retries).inc()
        return allowed

    def _why_none(self) -> str:
        if self.watch.known and not self.watch.trouble:
            return f"{self.place} knows no healthy instance"
        if self.watch.known:
            return f"{self.place} knew no healthy instance, and is gone"
        return f"no instance is known: {self.watch.trouble or f'{self.place} has not answered yet'}"
