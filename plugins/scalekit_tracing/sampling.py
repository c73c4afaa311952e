"""Decide which traces are kept: at the start by trace id, at the end by outcome and duration."""

from __future__ import annotations

from math import inf

from scalekit import TraceContext
from scalekit_tracing.config import SamplingConfig
from scalekit_tracing.token_bucket import TokenBucket

SAMPLED = 0x01
"""The flag sampled of ``traceparent``."""
SAMPLED_DIGITS = "13"
"""Last digits of the known flags with the flag sampled."""
MAX_ROUTES = 1000
"""Routes whose duration is estimated; further routes share one estimate."""
RANDOM_DIGITS = 14
"""Random digits at the end of a trace id (W3C Trace Context level 2)."""
RANDOM_BITS = 4 * RANDOM_DIGITS
NEVER = "x"
"""A threshold above all digits."""
STEP = 0.05
"""Relative step of the estimate of a quantile."""
MIN_SAMPLES = 100
"""Requests of a route before its estimate is used."""
OTHER = "other"

FAILED, SLOW, PARENT, RATIO = "failed", "slow", "parent", "ratio"
REASONS = (FAILED, SLOW, PARENT, RATIO)


class QuantileEstimate:
    """A running estimate of one quantile of durations, in constant memory.

    Each value moves the estimate by a step in proportion to the estimate: up by *quantile*, or down by the rest
    (stochastic approximation, Robbins and Monro, 1951).
    """

    __slots__ = ("_down", "_up", "count", "value")

    def __init__(self, quantile: float) -> None:
        self.value = 0.0
        self.count = 0
        self._up = 1 + STEP * quantile
        self._down = 1 - STEP * (1 - quantile)

    def add(self, seconds: float) -> bool:
        """Add a duration; return whether it is above the estimate, once that is based on enough durations."""
        above = seconds > self.value
        if self.count < MIN_SAMPLES:
            self.count += 1
            if above:
                self.value = seconds
            return False
        self.value *= self._up if above else self._down
        return above


class Sampler:
    """Decides which traces of this process are kept."""

    def __init__(self, config: SamplingConfig) -> None:
        self._errors = config.errors
        self._slow_threshold = config.slow_threshold or inf
        self._slow_quantile = config.slow_quantile
        threshold = min(int((1 - config.ratio) * (1 << RANDOM_BITS)), (1 << RANDOM_BITS) - 1)
        self._threshold = f"{threshold:0{RANDOM_DIGITS}x}" if config.ratio else NEVER
        self._urgent = TokenBucket(config.max_traces_per_second)
        self._parents = TokenBucket(config.max_traces_per_second)
        self._others = TokenBucket(config.max_traces_per_second)
        self._routes: dict[str, QuantileEstimate] = {}

    def samples(self, context: TraceContext) -> bool:
        """Return whether the ratio samples a new trace; all services with one ratio decide alike.

        Source: OpenTelemetry, consistent probability sampling.
        """
        return context.trace_id[-RANDOM_DIGITS:] >= self._threshold

    def reason(self, context: TraceContext, route: str, seconds: float, *, failed: bool) -> str:
        """Return why a trace that ends now is kept: one of REASONS, or empty when it is not kept.

        *failed* is whether its root failed, *seconds* the duration of its root, and *route* what is compared with
        others.
        """
        slow = seconds > self._slow_threshold
        if self._slow_quantile and self._estimate(route).add(seconds):
            slow = True
        if slow or (failed and self._errors):
            return (FAILED if failed else SLOW) if self._urgent.take() else ""
        if context.flags[1] not in SAMPLED_DIGITS:
            return ""
        if context.parent_id:
            return PARENT if self._parents.take() else ""
        return RATIO if self._others.take() else ""

    def _estimate(self, route: str) -> QuantileEstimate:
        found = self._routes.get(route)
        if found is None:
            if len(self._routes) >= MAX_ROUTES:
                route = OTHER
            found = self._routes.setdefault(route, QuantileEstimate(self._slow_quantile))
        return found
