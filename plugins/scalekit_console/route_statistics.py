"""Requests, errors and durations by method and route, of the last minutes."""

from __future__ import annotations

from typing import Any

MAX_ROUTES = 500
"""Pairs of method and route that are counted; further ones are counted together."""
BUCKETS = 200
"""Buckets of durations: four for each power of two, in microseconds."""
ROTATION = 300
"""Seconds after which the counts of the time before are forgotten: the shown ones are of this to twice this time."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"})
OTHER_METHOD = "_OTHER"
OTHER = (OTHER_METHOD, "other")


class RouteFigures:
    """Failed requests, and all requests by the bucket of their duration."""

    __slots__ = ("buckets", "errors")

    def __init__(self) -> None:
        self.errors = 0
        self.buckets = [0] * BUCKETS


class RouteStatistics:
    """The figures of this worker."""

    def __init__(self) -> None:
        self.figures: dict[tuple[str, str], RouteFigures] = {}
        self._before: dict[tuple[str, str], RouteFigures] = {}
        self._rotated = 0.0

    def add(self, method: str, route: str) -> RouteFigures:
        """Return the figures of a *method* and *route* without any in ``figures`` yet."""
        place = (method if method in METHODS else OTHER_METHOD, route)
        if place not in self.figures and len(self.figures) >= MAX_ROUTES:
            place = OTHER
        return self.figures.setdefault(place, RouteFigures())

    def rotate(self, now: float) -> None:
        """Forget the older counts every ROTATION seconds; *now* is in seconds of a monotonic clock."""
        if now - self._rotated >= ROTATION:
            self._before, self.figures = self.figures, {}
            self._rotated = now

    def describe(self) -> list[list[Any]]:
        """Return method, route, errors and requests by bucket of each route, as JSON can represent them."""
        return [
            [*place, figures.errors, {str(bucket): count for bucket, count in enumerate(figures.buckets) if count}]
            for generation in (self._before, self.figures)
            for place, figures in generation.items()
        ]
