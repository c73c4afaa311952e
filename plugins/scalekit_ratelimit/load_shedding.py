"""Refuse at once what would only wait."""

from __future__ import annotations

from scalekit import Decision, Exchange, Filter, local_problem
from scalekit_ratelimit.adaptive_concurrency import AdaptiveConcurrency
from scalekit_ratelimit.config import Priority
from scalekit_ratelimit.metrics import RateLimitMetrics
from scalekit_ratelimit.policies import RateLimitPolicies


class LoadShedder:
    """The limit of requests in flight, and whose turn it is."""

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
        """Return the highest priority of the policies that are for a request."""
        return self._policies.priority[exchange.route_path, exchange.scope["method"]]


class LoadSheddingFilter(Filter):
    """Respond with 503 where too many requests are in flight; a websocket, which stays, is none of them.

    ``shedder`` is there while the limit is.
    """

    shedder: LoadShedder | None = None

    def on_request(self, exchange: Exchange) -> Decision:
        """Let the request in, or refuse it."""
        shedder = self.shedder
        if shedder is None:
            return None
        priority = shedder.priority(exchange)
        if shedder.concurrency.enter(priority):
            return None
        shedder.metrics.shed(priority)
        return local_problem(503, "too many requests are in flight", headers={"retry-after": shedder.retry_after})

    def on_complete(self, exchange: Exchange, error: BaseException | None) -> None:
        """Take note of how long it took; the time of a request that failed says nothing."""
        if self.shedder is not None:
            self.shedder.concurrency.leave(exchange.seconds if error is None else None)
