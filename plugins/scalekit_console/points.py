"""Points in time: what each worker did, and all of them together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scalekit_console.durations import PERCENTILES, percentile


@dataclass(frozen=True, slots=True)
class Point:
    """What a worker, or all of them, did in *seconds*."""

    seconds: int
    errors: int
    in_flight: int
    cpu: float
    rss: int
    delay: float
    buckets: Mapping[int, int]

    @property
    def requests(self) -> int:
        """The number of requests that have ended."""
        return sum(self.buckets.values())

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds if self.seconds else 0.0

    @property
    def error_rate(self) -> float | None:
        """The share of requests that failed with a status from 500 on, None without requests."""
        return self.errors / self.requests if self.requests else None

    def percentiles(self) -> list[float | None]:
        """Return the durations in seconds that the shares PERCENTILES of the requests did not exceed."""
        return [percentile(share, self.buckets) for share in PERCENTILES]


def point_of(group: Sequence[Any]) -> Point:
    """Return the point of *group*, as a worker describes it."""
    _, seconds, errors, in_flight, cpu, rss, delay, buckets = group
    return Point(seconds, errors, in_flight, cpu, rss, delay, {int(key): count for key, count in buckets.items()})


def sum_points(points: Iterable[Point]) -> Point:
    """Return what several workers did together."""
    found = list(points)
    buckets: dict[int, int] = {}
    for point in found:
        for bucket, count in point.buckets.items():
            buckets[bucket] = buckets.get(bucket, 0) + count
    return Point(
        max((point.seconds for point in found), default=0),
        sum(point.errors for point in found),
        sum(point.in_flight for point in found),
        sum(point.cpu for point in found),
        sum(point.rss for point in found),
        max((point.delay for point in found), default=0.0),
        buckets,
    )


@dataclass(frozen=True, slots=True)
class Moment:
    """What all workers together, and each of them, did at a time, and the PERCENTILES of the durations."""

    total: Point
    percentiles: Sequence[float | None]
    workers: Mapping[str, Point]


class Moments:
    """The moments of a live page: each is computed again only when a worker describes that time otherwise."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Mapping[str, Sequence[Any]], Moment]] = {}

    def of(self, workers: Mapping[str, Any]) -> dict[int, Moment]:
        """Return the moments by time of the descriptions of all *workers*."""
        by_time: dict[int, dict[str, Sequence[Any]]] = {}
        for worker, each in workers.items():
            for group in each["groups"]:
                by_time.setdefault(group[0], {})[worker] = group
        known = self._known
        self._known = {
            at: known[at] if at in known and known[at][0] == groups else (groups, _moment(groups))
            for at, groups in by_time.items()
        }
        return {at: moment for at, (_, moment) in self._known.items()}


def _moment(groups: Mapping[str, Sequence[Any]]) -> Moment:
    points = {worker: point_of(group) for worker, group in groups.items()}
    total = sum_points(points.values())
    return Moment(total, total.percentiles(), points)
