"""Shed load: respond with 503 when more requests are in flight than an adaptive limit allows their priority.

The gradient algorithm is that of Netflix's concurrency-limits: the limit follows the quotient of the latency without
load and the latency now, plus headroom for a queue of the limit's square root, here scaled by how much latency may
still grow. Like Envoy's adaptive concurrency filter it measures the former at the minimum limit now and then. AIMD is
TCP's: plus one for each window that was fast enough, minus ten percent otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Protocol

from scalekit import Decision, Exchange, Filter, local_problem
from scalekit_ratelimit.config import Priority, RateLimitConfig
from scalekit_ratelimit.metrics import RateLimitMetrics
from scalekit_ratelimit.policies import RateLimitPolicies

SMOOTHING = 0.2
UNLOADED_SMOOTHING = 0.1
"""Weight of a new measurement in the average of the latency without load."""
PROBE_AFTER = 500
"""Windows under load after which the latency without load is measured again."""
WINDOW = 20
"""Requests whose latencies are averaged."""
BACKOFF_RATIO = 0.9
PRIORITY_SHARES = {"low": 0.7, "normal": 0.9, "high": 1.0}
"""Share of the limit that requests of each priority may use."""


class LimitAlgorithm(Protocol):
    """Computes the next limit."""

    def next_limit(self, limit: float, latency: float, in_flight: int) -> float:
        """Return the limit after a window with an average *latency* in seconds and at most *in_flight* requests."""
        ...


class GradientAlgorithm:
    """Lowers the limit when latency is more than *tolerance* times the latency without load.

    That is measured while less than half of the limit is in use, and at *min_limit*. A service that is always under
    load is limited to *min_limit* now and then, for a moment: under load the measurement would include the queue.
    """

    def __init__(self, tolerance: float, min_limit: int) -> None:
        self._tolerance = tolerance
        self._min_limit = min_limit
        self._unloaded = 0.0
        self._loaded_windows = 0
        self._probe: LatencyProbe | None = None

    def next_limit(self, limit: float, latency: float, in_flight: int) -> float:
        """Return the next limit."""
        if self._probe is not None:
            return self._continue_probe(self._probe, latency, in_flight)
        unused = in_flight < limit / 2
        if unused or limit <= self._min_limit or latency < self._unloaded:
            self._update_unloaded(latency)
        self._loaded_windows = 0 if unused else self._loaded_windows + 1
        if unused:
            return limit
        if not self._unloaded or self._loaded_windows >= PROBE_AFTER:
            self._probe = LatencyProbe(limit)
            return float(self._min_limit)
        gradient = self._tolerance * self._unloaded / latency if latency else 2.0
        target = limit * max(0.5, gradient) if gradient < 1.0 else limit + sqrt(limit) * min(1.0, gradient - 1.0)
        return limit + (target - limit) * SMOOTHING

    def _update_unloaded(self, latency: float) -> None:
        self._unloaded += (latency - self._unloaded) * (UNLOADED_SMOOTHING if self._unloaded else 1.0)

    def _continue_probe(self, probe: LatencyProbe, latency: float, in_flight: int) -> float:
        """Wait until requests that arrived under load have ended, and measure those that arrived after them."""
        probe.drained += in_flight <= self._min_limit
        if probe.drained < 2:
            return float(self._min_limit)
        self._unloaded, self._loaded_windows, self._probe = latency, 0, None
        return probe.limit


@dataclass(slots=True)
class LatencyProbe:
    """A measurement of the latency without load, after which *limit* is restored; *drained* counts its windows."""

    limit: float
    drained: int = 0


class AimdAlgorithm:
    """Lowers the limit when latency is above *target_latency* seconds."""

    def __init__(self, target_latency: float) -> None:
        self._target_latency = target_latency

    def next_limit(self, limit: float, latency: float, in_flight: int) -> float:
        """Return the next limit."""
        if latency > self._target_latency:
            return limit * BACKOFF_RATIO
        return limit + 1 if in_flight >= limit / 2 else limit


class AdaptiveConcurrency:
    """Counts requests in flight against a limit between *min_limit* and *max_limit* that *algorithm* adapts."""

    def __init__(self, algorithm: LimitAlgorithm, initial_limit: int, min_limit: int, max_limit: int) -> None:
        self._algorithm = algorithm
        self._min_limit = min_limit
        self._max_limit = max_limit
        self._limit = float(initial_limit)
        self._latency_sum = 0.0
        self._samples = 0
        self._peak = 0
        self.in_flight = 0

    @property
    def limit(self) -> int:
        """How many requests may be in flight."""
        return int(self._limit)

    def acquire(self, priority: str) -> bool:
        """Count a request as in flight and return True, or return False when *priority* has no capacity left."""
        if self.in_flight >= max(1.0, self._limit * PRIORITY_SHARES[priority]):
            return False
        self.in_flight += 1
        if self.in_flight > self._peak:
            self._peak = self.in_flight
        return True

    def release(self, latency: float | None) -> None:
        """Count a request as ended after *latency* seconds; None excludes it from the measurement."""
        self.in_flight -= 1
        if latency is None:
            return
        self._latency_sum += latency
        self._samples += 1
        if self._samples >= WINDOW:
            average, peak = self._latency_sum / self._samples, self._peak
            self._latency_sum, self._samples, self._peak = 0.0, 0, self.in_flight
            limit = self._algorithm.next_limit(self._limit, average, peak)
            self._limit = max(float(self._min_limit), min(float(self._max_limit), limit))


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

    def sample(self) -> tuple[int, int]:
        """Return the number of requests in flight and its limit."""
        return self.concurrency.in_flight, self.concurrency.limit

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


def build_load_shedder(
    config: RateLimitConfig, policies: RateLimitPolicies, metrics: RateLimitMetrics
) -> LoadShedder | None:
    """Return the load shedder when the table ``concurrency`` enables it."""
    table = config.concurrency
    if table is None or not table.enabled:
        return None
    gradient = table.algorithm == "gradient"
    algorithm = GradientAlgorithm(table.tolerance, table.min_limit) if gradient else AimdAlgorithm(table.target_latency)
    concurrency = AdaptiveConcurrency(algorithm, table.initial_limit, table.min_limit, table.max_limit)
    return LoadShedder(concurrency, policies, table.retry_after, metrics)
