"""Requests, errors and durations by method and route, of the last minutes."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from scalekit_console.durations import duration_bucket

MAX_ROUTES = 500
"""Pairs of method and route that are counted; further ones are counted together."""
ROTATION = 300
"""Seconds after which the counts of the time before are forgotten: the shown ones are of this to twice this time."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"})
OTHER_METHOD = "_OTHER"
OTHER = (OTHER_METHOD, "other")


EndedRequest = tuple[str, str, float]
"""Method, route and duration in seconds of a request."""


class RouteFigures:
    """Failed requests, and all requests by the bucket of their duration: estimates when some stand for others."""

    __slots__ = ("buckets", "errors")

    def __init__(self) -> None:
        self.errors = 0
        self.buckets: dict[int, float] = {}

    def add(self, seconds: float, count: float) -> None:
        """Add *count* requests of *seconds*."""
        bucket = duration_bucket(seconds)
        self.buckets[bucket] = self.buckets.get(bucket, 0) + count


class RouteStatistics:
    """The figures of this worker."""

    def __init__(self) -> None:
        self._figures: dict[tuple[str, str], RouteFigures] = {}
        self._before: dict[tuple[str, str], RouteFigures] = {}
        self._rotated = 0.0

    def add(self, requests: Collection[EndedRequest], of: int) -> None:
        """Add *requests*, a sample that stands for *of* requests."""
        count = of / len(requests) if 0 < len(requests) < of else 1
        for method, route, seconds in requests:
            self._of(method, route).add(seconds, count)

    def add_failed(self, requests: Iterable[EndedRequest]) -> None:
        """Add failed *requests*."""
        for method, route, seconds in requests:
            figures = self._of(method, route)
            figures.errors += 1
            figures.add(seconds, 1)

    def rotate(self, now: float) -> None:
        """Forget the older counts every ROTATION seconds; *now* is in seconds of a monotonic clock."""
        if now - self._rotated >= ROTATION:
            self._before, self._figures = self._figures, {}
            self._rotated = now

    def describe(self) -> list[list[Any]]:
        """Return method, route, errors and requests by bucket of each route, as JSON can represent them."""
        return [
            [*place, figures.errors, {str(bucket): count for bucket, count in figures.buckets.items()}]
            for generation in (self._before, self._figures)
            for place, figures in generation.items()
        ]

    def _of(self, method: str, route: str) -> RouteFigures:
        place = (method if method in METHODS else OTHER_METHOD, route)
        if place not in self._figures and len(self._figures) >= MAX_ROUTES:
            place = OTHER
        found = self._figures.get(place)
        if found is None:
            found = self._figures[place] = RouteFigures()
        return found
