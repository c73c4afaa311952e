"""The page with the traffic and the load of all workers, live and over the last 15 minutes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scalekit.pages import Block, Chart, Column, ConsolePage, DataTable, Facts, PageGroup, PageView, Series, Unit
from scalekit_console.durations import PERCENTILES, percentile
from scalekit_console.sampler import GROUP, WorkerSampler

WORKERS = (
    Column("worker"),
    Column("pid"),
    Column("requests", Unit.PER_SECOND),
    Column("in flight"),
    Column("websockets"),
    Column("CPU", Unit.RATIO),
    Column("RSS", Unit.BYTES),
    Column("delay of the event loop", Unit.SECONDS),
)


def overview_page(sampler: WorkerSampler) -> ConsolePage:
    """Return the page of the samples of all workers; *sampler* is that of this one."""

    async def collect(query: Mapping[str, str]) -> dict[str, Any]:
        return sampler.describe()

    return ConsolePage(
        "overview",
        "Overview",
        render_overview,
        collect,
        group=PageGroup.SERVICE,
        live=True,
        description="Requests, errors, durations, CPU, memory and event loop of all workers over 15 minutes.",
    )


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

    def percentile(self, share: float) -> float | None:
        """Return the duration in seconds that *share* of the requests did not exceed, None without requests."""
        return percentile(share, self.buckets)


def _point(group: Sequence[Any]) -> Point:
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


async def render_overview(view: PageView) -> Sequence[Block]:
    """Return the figures of the last second, charts, and a table of the workers."""
    last = {worker: _point(each["last"]) for worker, each in view.workers.items() if each["last"]}
    by_time: dict[int, dict[str, Point]] = {}
    for worker, each in view.workers.items():
        for group in each["groups"]:
            by_time.setdefault(group[0], {})[worker] = _point(group)
    return [_figures(sum_points(last.values()), view), *_charts(by_time, list(view.workers)), _workers(view, last)]


def _figures(total: Point, view: PageView) -> Facts:
    facts = {
        "requests": total.rate,
        "errors": total.error_rate,
        **{f"p{share * 100:.0f}": total.percentile(share) for share in PERCENTILES},
        "in flight": sum(each["in_flight"] for each in view.workers.values()),
        "websockets": sum(each["websockets"] for each in view.workers.values()),
        "CPU": total.cpu,
        "RSS": total.rss,
        "delay of the event loop": total.delay,
    }
    durations = {f"p{share * 100:.0f}": Unit.SECONDS for share in PERCENTILES}
    units = {"requests": Unit.PER_SECOND, "errors": Unit.RATIO, "CPU": Unit.RATIO, "RSS": Unit.BYTES, **durations}
    return Facts(facts, "Last second", {**units, "delay of the event loop": Unit.SECONDS})


def _charts(by_time: Mapping[int, Mapping[str, Point]], workers: Sequence[str]) -> list[Chart]:
    times = range(min(by_time), max(by_time) + 1, GROUP) if by_time else ()
    totals = [sum_points(by_time[at].values()) if at in by_time else None for at in times]

    def line(name: str, value: Any) -> Series:
        return Series(name, [None if point is None else value(point) for point in totals])

    def by_worker(value: Any) -> list[Series]:
        points = {worker: [by_time.get(at, {}).get(worker) for at in times] for worker in workers}
        return [
            Series(f"worker {worker}", [None if point is None else value(point) for point in each])
            for worker, each in points.items()
        ]

    percentiles = [
        line(f"p{share * 100:.0f}", lambda point, share=share: point.percentile(share)) for share in PERCENTILES
    ]
    return [
        Chart("Requests", [line("all", lambda point: point.rate)], GROUP, Unit.PER_SECOND),
        Chart("Errors", [line("status 500 and above", lambda point: point.error_rate)], GROUP, Unit.RATIO),
        Chart("Duration", percentiles, GROUP, Unit.SECONDS),
        Chart("In flight", [line("all", lambda point: point.in_flight)], GROUP),
        Chart("CPU", by_worker(lambda point: point.cpu), GROUP, Unit.RATIO),
        Chart("RSS", by_worker(lambda point: point.rss), GROUP, Unit.BYTES),
        Chart("Delay of the event loop", by_worker(lambda point: point.delay), GROUP, Unit.SECONDS),
    ]


def _workers(view: PageView, last: Mapping[str, Point]) -> DataTable:
    rows = []
    for worker, each in view.workers.items():
        point = last.get(worker, Point(0, 0, 0, 0.0, 0, 0.0, {}))
        load = (point.cpu, point.rss, point.delay)
        rows.append((worker, str(each["pid"]), point.rate, each["in_flight"], each["websockets"], *load))
    return DataTable(WORKERS, rows, "Workers")
