"""The page with the traffic and the load of all workers, live and over the last 15 minutes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from scalekit.pages import Block, Chart, Column, ConsolePage, DataTable, Facts, PageGroup, PageView, Series, Unit
from scalekit_console.durations import PERCENTILES
from scalekit_console.points import Moment, Moments, Point, point_of, sum_points
from scalekit_console.sampler import GROUP, WorkerSampler

PERCENTILE_NAMES = [f"p{share * 100:.0f}" for share in PERCENTILES]
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

    moments = Moments()

    async def collect(query: Mapping[str, str]) -> dict[str, Any]:
        return sampler.describe()

    async def render(view: PageView) -> Sequence[Block]:
        return _blocks(view, moments.of(view.workers))

    return ConsolePage(
        "overview",
        "Overview",
        render,
        collect,
        group=PageGroup.SERVICE,
        live=True,
        description="Requests, errors, durations, CPU, memory and event loop of all workers over 15 minutes.",
    )


def _blocks(view: PageView, moments: Mapping[int, Moment]) -> Sequence[Block]:
    """Return the figures of the last second, charts, and a table of the workers."""
    last = {worker: point_of(each["last"]) for worker, each in view.workers.items() if each["last"]}
    return [_figures(sum_points(last.values()), view), *_charts(moments, list(view.workers)), _workers(view, last)]


def _figures(total: Point, view: PageView) -> Facts:
    durations = dict.fromkeys(PERCENTILE_NAMES, Unit.SECONDS)
    facts = {
        "requests": total.rate,
        "errors": total.error_rate,
        **dict(zip(durations, total.percentiles(), strict=True)),
        "in flight": sum(each["in_flight"] for each in view.workers.values()),
        "websockets": sum(each["websockets"] for each in view.workers.values()),
        "CPU": total.cpu,
        "RSS": total.rss,
        "delay of the event loop": total.delay,
    }
    units = {"requests": Unit.PER_SECOND, "errors": Unit.RATIO, "CPU": Unit.RATIO, "RSS": Unit.BYTES, **durations}
    return Facts(facts, "Last second", {**units, "delay of the event loop": Unit.SECONDS})


def _charts(moments: Mapping[int, Moment], workers: Sequence[str]) -> list[Chart]:
    shown = [moments.get(at) for at in range(min(moments), max(moments) + 1, GROUP)] if moments else []

    def line(name: str, value: Callable[[Moment], float | None]) -> Series:
        return Series(name, [None if moment is None else value(moment) for moment in shown])

    def by_worker(value: Callable[[Point], float]) -> list[Series]:
        return [line(f"worker {each}", partial(_of_worker, each, value)) for each in workers]

    percentiles = [line(name, partial(_percentile, place)) for place, name in enumerate(PERCENTILE_NAMES)]
    return [
        Chart("Requests", [line("all", lambda moment: moment.total.rate)], GROUP, Unit.PER_SECOND),
        Chart("Errors", [line("status 500 and above", lambda moment: moment.total.error_rate)], GROUP, Unit.RATIO),
        Chart("Duration", percentiles, GROUP, Unit.SECONDS),
        Chart("In flight", [line("all", lambda moment: moment.total.in_flight)], GROUP),
        Chart("CPU", by_worker(lambda point: point.cpu), GROUP, Unit.RATIO),
        Chart("RSS", by_worker(lambda point: point.rss), GROUP, Unit.BYTES),
        Chart("Delay of the event loop", by_worker(lambda point: point.delay), GROUP, Unit.SECONDS),
    ]


def _percentile(place: int, moment: Moment) -> float | None:
    return moment.percentiles[place]


def _of_worker(worker: str, value: Callable[[Point], float], moment: Moment) -> float | None:
    return value(moment.workers[worker]) if worker in moment.workers else None


def _workers(view: PageView, last: Mapping[str, Point]) -> DataTable:
    rows = []
    for worker, each in view.workers.items():
        point = last.get(worker, Point(0, 0, 0, 0.0, 0, 0.0, {}))
        load = (point.cpu, point.rss, point.delay)
        rows.append((worker, str(each["pid"]), point.rate, each["in_flight"], each["websockets"], *load))
    return DataTable(WORKERS, rows, "Workers")
