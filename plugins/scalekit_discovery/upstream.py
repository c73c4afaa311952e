"""A service that this one calls: its instances, load balancer, retry budget and timeouts."""

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
    """A service has no instance that may be called."""


@dataclass(slots=True, kw_only=True)
class Upstream:
    """The state of one upstream; timeouts are in seconds."""

    name: str
    session: aiohttp.ClientSession
    watcher: ServiceWatcher
    load_balancer: LoadBalancer
    budget: RetryBudget
    metrics: ServiceMetrics
    max_retries: int
    timeout: float
    attempt_timeout: float
    initial_timeout: float
    source: str

    async def wait_for_instances(self, deadline: float) -> None:
        """Wait until the source has reported the instances; raise NoHealthyInstance when there are none."""
        if not self.watcher.resolved:
            await self.watcher.wait_resolved(min(self.initial_timeout, max(0.0, deadline - monotonic())))
        if not self.load_balancer.endpoints:
            self.metrics.no_instance.inc()
            raise NoHealthyInstance(f"{self.name}: {self._why_no_instance()}")

    def choose(self, tried: Sequence[Endpoint]) -> Endpoint:
        """Return the endpoint of the next attempt; raise NoHealthyInstance when none is available."""
        endpoint = self.load_balancer.choose(tried, monotonic())
        if endpoint is None:
            self.metrics.no_instance.inc()
            reason = "every instance is ejected" if self.load_balancer.endpoints else self._why_no_instance()
            raise NoHealthyInstance(f"{self.name}: {reason}")
        return endpoint

    def withdraw_retry(self) -> bool:
        """Withdraw a retry from the budget; return whether the budget allowed it."""
        allowed = self.budget.withdraw(monotonic())
        (self.metrics.retries if allowed else self.metrics.denied_retries).inc()
        return allowed

    def _why_no_instance(self) -> str:
        if self.watcher.resolved and not self.watcher.last_error:
            return f"{self.source} has no healthy instance"
        if self.watcher.resolved:
            return f"{self.source} had no healthy instance, and is unavailable"
        return f"no instance is known: {self.watcher.last_error or f'{self.source} has not responded yet'}"
