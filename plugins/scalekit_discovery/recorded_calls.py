"""The last calls of each instance, recorded for the console only."""

from __future__ import annotations

from collections import deque

from scalekit_discovery.instances import ServiceInstance
from scalekit_discovery.load_balancer import Endpoint, LoadBalancer

MAX_CALLS = 200
"""Calls of each instance that are kept."""


class RecordedEndpoint(Endpoint):
    """An endpoint with its last calls: the seconds until a response, None for a failure."""

    __slots__ = ("calls",)

    def __init__(self, instance: ServiceInstance) -> None:
        super().__init__(instance)
        self.calls: deque[float | None] = deque(maxlen=MAX_CALLS)

    def latencies(self) -> list[float]:
        """Return the latencies of successful calls, the shortest first."""
        return sorted(seconds for seconds in self.calls if seconds is not None)

    def error_rate(self) -> float | None:
        """Return the share of failed calls, None without calls."""
        return self.calls.count(None) / len(self.calls) if self.calls else None


class RecordingLoadBalancer(LoadBalancer):
    """Records the calls of each endpoint."""

    endpoint_type = RecordedEndpoint

    def on_success(self, endpoint: Endpoint, seconds: float, now: float) -> None:
        """Record a response after *seconds*."""
        if isinstance(endpoint, RecordedEndpoint):
            endpoint.calls.append(seconds)
        super().on_success(endpoint, seconds, now)

    def on_failure(self, endpoint: Endpoint, seconds: float, now: float) -> None:
        """Record a failure after *seconds*."""
        if isinstance(endpoint, RecordedEndpoint):
            endpoint.calls.append(None)
        super().on_failure(endpoint, seconds, now)
