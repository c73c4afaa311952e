"""Choose the endpoint of a call, and eject endpoints that fail (outlier ejection).

The choice is the power of two choices (Mitzenmacher 2001): of two random endpoints, the one with less load. Load is the
number of requests in flight times the latency, a moving average that jumps to a peak and decays, like Finagle's Peak
EWMA. Endpoints of the own zone are preferred.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from math import exp
from random import random

from scalekit_discovery.instances import ServiceInstance
from scalekit_discovery.metrics import ServiceMetrics
from scalekit_discovery.zones import ZoneSplit, split_by_zone

logger = logging.getLogger("scalekit.discovery")

DECAY = 10.0
"""Time constant of the moving average in seconds: an older latency counts for a third."""
MIN_LATENCY = 0.0005
"""Latencies below this count as equal, so that only the requests in flight differ."""
SHORT_EJECTION = 1.0
"""Seconds for which an endpoint is ejected when half of the endpoints are ejected already."""


class Endpoint:
    """An instance with its load and its circuit breaker."""

    __slots__ = (
        "_latency",
        "_measured",
        "base_url",
        "ejected",
        "ejected_until",
        "failures",
        "in_flight",
        "instance",
        "probing",
    )

    def __init__(self, instance: ServiceInstance) -> None:
        self.instance = instance
        self.base_url = instance.url
        self.in_flight = 0
        self.failures = 0
        self.ejected = False
        self.ejected_until = 0.0
        self.probing = False
        self._latency = 0.0
        self._measured = 0.0

    def load(self, now: float) -> float:
        """Return the load: requests in flight times decayed latency, by weight."""
        latency = self._latency * exp((self._measured - now) / DECAY)
        return (self.in_flight + 1) * max(latency, MIN_LATENCY) / self.instance.weight

    def record_latency(self, seconds: float, now: float) -> None:
        """Add a latency to the moving average."""
        decay = exp((self._measured - now) / DECAY)
        self._latency = seconds if seconds > self._latency else self._latency * decay + seconds * (1.0 - decay)
        self._measured = now

    def reset_latency(self, seconds: float, now: float) -> None:
        """Restart the moving average with one latency."""
        self._latency, self._measured = seconds, now

    def is_available(self, now: float) -> bool:
        """Return whether it may be called: it is not ejected, or its ejection has ended and no call probes it."""
        return not self.ejected or (now >= self.ejected_until and not self.probing)

    def release(self) -> None:
        """Count one request less in flight."""
        self.in_flight -= 1


class LoadBalancer:
    """The endpoints of the service *name*.

    One that fails *consecutive_failures* times in a row is ejected for *ejection_time* seconds.
    """

    endpoint_type: type[Endpoint] = Endpoint

    def __init__(self, name: str, consecutive_failures: int, ejection_time: float, metrics: ServiceMetrics) -> None:
        self.name = name
        self.endpoints: list[Endpoint] = []
        self._consecutive_failures = consecutive_failures
        self._ejection_time = ejection_time
        self._metrics = metrics
        self._any_ejected = False
        self._zones: ZoneSplit[Endpoint] | None = None

    def update(self, instances: Sequence[ServiceInstance]) -> None:
        """Replace the endpoints by those of *instances*; an endpoint whose instance stays keeps its state."""
        current = {endpoint.instance: endpoint for endpoint in self.endpoints}
        self.endpoints = [current.get(instance) or self.endpoint_type(instance) for instance in instances]
        self._any_ejected = any(endpoint.ejected for endpoint in self.endpoints)
        self._zones = split_by_zone(self.endpoints)

    def choose(self, tried: Sequence[Endpoint], now: float) -> Endpoint | None:
        """Return the endpoint of the next attempt, if possible one not in *tried*; None when none is available."""
        endpoints: Sequence[Endpoint] = self.endpoints
        zones = self._zones
        if tried or self._any_ejected:
            available = [endpoint for endpoint in endpoints if endpoint.is_available(now)]
            endpoints = [endpoint for endpoint in available if endpoint not in tried] or available
            for endpoint in endpoints:
                if endpoint.ejected:  # its ejection has ended: this call probes it, whatever its latency was
                    return endpoint
            zones = zones and split_by_zone(endpoints)
        if zones is not None:
            endpoints = self._choose_zone(zones)
        count = len(endpoints)
        if count < 2:
            return endpoints[0] if count else None
        first = int(random() * count)
        second = int(random() * (count - 1))
        one, other = endpoints[first], endpoints[second + (second >= first)]
        return one if one.load(now) <= other.load(now) else other

    def _choose_zone(self, zones: ZoneSplit[Endpoint]) -> Sequence[Endpoint]:
        if zones.keeps_call():
            return zones.own
        self._metrics.cross_zone_attempts.inc()
        return zones.others

    def has_alternative(self, endpoint: Endpoint, tried: Sequence[Endpoint], now: float) -> bool:
        """Return whether an endpoint other than *endpoint* and those in *tried* is available."""
        if not tried and not self._any_ejected:
            return len(self.endpoints) > 1
        return any(each is not endpoint and each not in tried and each.is_available(now) for each in self.endpoints)

    def on_start(self, endpoint: Endpoint) -> None:
        """Count a request to *endpoint* in flight."""
        endpoint.in_flight += 1
        if endpoint.ejected:
            endpoint.probing = True

    def on_success(self, endpoint: Endpoint, seconds: float, now: float) -> None:
        """Record a response after *seconds*; it ends the ejection of *endpoint*."""
        endpoint.failures = 0
        if not endpoint.ejected:
            endpoint.record_latency(seconds, now)
        else:
            endpoint.reset_latency(seconds, now)
            self.end_ejection(endpoint)
            logger.info("instance %s of %r responds again, ejection ended", endpoint.instance.id, self.name)

    def end_ejection(self, endpoint: Endpoint) -> None:
        """Let calls choose *endpoint* again; it has no failures then."""
        endpoint.failures = 0
        endpoint.ejected = endpoint.probing = False
        self._any_ejected = any(each.ejected for each in self.endpoints)

    def on_failure(self, endpoint: Endpoint, seconds: float, now: float) -> None:
        """Record a failure after *seconds*; the last of consecutive ones ejects *endpoint*."""
        endpoint.record_latency(seconds, now)
        endpoint.failures += 1
        if endpoint.probing or (not endpoint.ejected and endpoint.failures >= self._consecutive_failures):
            self._eject(endpoint, now)

    def on_abandoned(self, endpoint: Endpoint) -> None:
        """Record that the caller stopped waiting, which counts neither as success nor as failure."""
        endpoint.probing = False

    def _eject(self, endpoint: Endpoint, now: float) -> None:
        others = sum(each.ejected and each.ejected_until > now and each is not endpoint for each in self.endpoints)
        below_half = others + 1 <= len(self.endpoints) // 2
        if not endpoint.ejected:
            self._metrics.ejections.inc()
            logger.warning(
                "instance %s of %r ejected after %d consecutive failures",
                endpoint.instance.id,
                self.name,
                endpoint.failures,
            )
        endpoint.ejected = self._any_ejected = True
        endpoint.probing = False
        endpoint.ejected_until = now + (self._ejection_time if below_half else SHORT_EJECTION)
