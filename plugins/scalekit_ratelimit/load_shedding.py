"""Shed load by priority: respond with 503 when too many requests are in flight."""

from __future__ import annotations

from scalekit import Decision, Exchange, Filter, local_problem
from scalekit_ratelimit.adaptive_concurrency import AdaptiveConcurrency
from scalekit_ratelimit.config import Priority
from scalekit_ratelimit.metrics import RateLimitMetrics
from scalekit_ratelimit.policies import RateLimitPolicies


class LoadShedder:
    """The adaptive limit of requests in flight, and the priority of each request."""

    def __init__(
        self,
        concurrency: AdaptiveConcurrency,
        policies: RateLimitPolicies,
        retry_after: float,
        metrics: RateLimitMetrics,
    ) -> None:
        self.concurrency = concurrency
        self.retry_after = str(max(1, -int(-retry_after // 1)))
        self.metrics = metrics
        self._policies = policies

    def priority(self, exchange: Exchange) -> Priority:
        """Return the highest priority of the policies that match a request."""
        return self._policies.priority[exchange.route_path, exchange.scope["method"]]


class LoadSheddingFilter(Filter):
    """Responds with 503 when too many requests are in flight; websockets, which stay open, are not counted.

    ``shedder`` is set while the plugin runs.
    """

    shedder: LoadShedder | None = None

    def on_request(self, exchange: Exchange) -> Decision:
        """Count the request as in flight, or shed it."""
        shedder = self.shedder
        if shedder is None:
            return None
        priority = shedder.priority(exchange)
        if shedder.concurrency.acquire(priority):
            return None
        shedder.metrics.count_shed(priority)
        return local_problem(503, "too many requests in flight", headers={"retry-after": shedder.retry_after})

    def on_complete(self, exchange: Exchange, error: BaseException | None) -> None:
        """Record the latency of the request, except when it failed."""
        if self.shedder is not None:
            self.shedder.concurrency.release(exchange.seconds if error is None else None)
