"""Which instance gets a call.

Of two that are drawn at random the one with less load (the power of two choices, Mitzenmacher 2001). Load is what is in
flight times the latency, a moving average that jumps to a peak and forgets it with time, as Finagle's Peak EWMA does.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from math import exp
from random import random

from scalekit_discovery.instances import ServiceInstance
from scalekit_discovery.metrics import ServiceMetrics

logger = logging.getLogger("scalekit.discovery")

DECAY = 10.0
"""Seconds after which a latency counts for a third."""
LEAST_LATENCY = 0.0005
"""Below this latencies are alike, and only what is in flight tells instances apart."""
PAUSE = 1.0
"""Seconds that an instance is left alone which may not be ejected, because half of them are."""


class Endpoint:
    """An instance, its load and its breaker."""

    __slots__ = ("_at", "_latency", "base", "failures", "in_flight", "instance", "opened", "trying", "until")

    def __init__(self, instance: ServiceInstance) -> None:
        self.instance = instance
        self.base = instance.url
        self.in_flight = 0
        self.failures = 0
        self.opened = False
        self.until = 0.0
        self.trying = False
        self._latency = 0.0
        self._at = 0.0

    def load(self, now: float) -> float:
        """Return how much it is burdened."""
        latency = self._latency * exp((self._at - now) / DECAY)
        return (self.in_flight + 1) * max(latency, LEAST_LATENCY) / self.instance.weight

    def measure(self, seconds: float, now: float) -> None:
        """Take a latency into account."""
        kept = exp((self._at - now) / DECAY)
        self._latency = seconds if seconds > self._latency else self._latency * kept + seconds * (1.0 - kept)
        self._at = now

    def forget(self, seconds: float, now: float) -> None:
        """Begin anew with one latency: it is not what it was."""
        self._latency, self._at = seconds, now

    def admits(self, now: float) -> bool:
        """Tell whether it may be called: its breaker is closed, or it is time for one call to try it."""
        return not self.opened or (now >= self.until and not self.trying)

    def finish(self) -> None:
        """Note that a call has left it."""
        self.in_flight -= 1


class LoadBalancer:
    """The instances of the service *name*; one that fails *failures* times in a row is left out for a while."""

    def __init__(self, name: str, failures: int, ejection: float, metrics: ServiceMetrics) -> None:
        self.name = name
        self.all: list[Endpoint] = []
        self._failures = failures
        self._ejection = ejection
        self._metrics = metrics
        self._any_open = False

    def update(self, instances: Sequence[ServiceInstance]) -> None:
        """Take over the *instances*; what is known of those that stay is kept."""
        known = {target.instance: target for target in self.all}
        self.all = [known.get(instance) or Endpoint(instance) for instance in instances]
        self._any_open = any(target.opened for target in self.all)

    def choose(self, tried: Sequence[Endpoint], now: float) -> Endpoint | None:
        """Return the target of the next attempt, one that is not in *tried* where there is one; None admits a call."""
        targets = self.all
        if tried or self._any_open:
            admitting = [target for target in targets if target.admits(now)]
            targets = [target for target in admitting if target not in tried] or admitting
            for target in targets:
                if target.opened:  # its time has come: however slow it was, this call tries it
                    return target
        count = len(targets)
        if count < 2:
            return targets[0] if count else None
        first = int(random() * count)
        second = int(random() * (count - 1))
        one, other = targets[first], targets[second + (second >= first)]
        return one if one.load(now) <= other.load(now) else other

    def has_another(self, target: Endpoint, tried: Sequence[Endpoint], now: float) -> bool:
        """Tell whether another instance than *target* and those in *tried* may be called."""
        if not tried and not self._any_open:
            return len(self.all) > 1
        return any(each is not target and each not in tried and each.admits(now) for each in self.all)

    def begin(self, target: Endpoint) -> None:
        """Note that a call goes to *target*."""
        target.in_flight += 1
        if target.opened:
            target.trying = True

    def succeeded(self, target: Endpoint, seconds: float, now: float) -> None:
        """Note that *target* has answered after *seconds*."""
        target.failures = 0
        if not target.opened:
            target.measure(seconds, now)
        else:
            target.forget(seconds, now)
            target.opened = target.trying = False
            self._any_open = any(each.opened for each in self.all)
            logger.info("instance %s of %r answers again", target.instance.id, self.name)

    def failed(self, target: Endpoint, seconds: float, now: float) -> None:
        """Note that *target* has failed after *seconds*."""
        target.measure(seconds, now)
        target.failures += 1
        if target.trying or (not target.opened and target.failures >= self._failures):
            self._open(target, now)

    def left(self, target: Endpoint) -> None:
        """Note that the caller went away, which says nothing about *target*."""
        target.trying = False

    def _open(self, target: Endpoint, now: float) -> None:
        ejected = sum(each.opened and each.until > now and each is not target for each in self.all)
        allowed = ejected + 1 <= len(self.all) // 2
        if not target.opened:
            self._metrics.ejections.inc()
            logger.warning("instance %s of %r failed %d times in a row", target.instance.id, self.name, target.failures)
        target.opened = self._any_open = True
        target.trying = False
        target.until = now + (self._ejection if allowed else PAUSE)
