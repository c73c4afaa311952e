"""The page of memory: usage of every worker against its limits, garbage collection, and which types of objects grow."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from scalekit.config.tables import Memory
from scalekit.pages.blocks import ActionForm, Block, Chart, Column, DataTable, Facts, Series, Text, Unit
from scalekit.pages.page import ConsolePage, PageAction, PageGroup, PageView, Query
from scalekit.runner.memory.heap_growth import TOPIC
from scalekit.runner.memory.history import MemoryHistory
from scalekit.runner.memory.usage import available_memory
from scalekit.runner.workers.worker_queries import WorkerQueries
from scalekit.terminal import format_duration

WORKERS = (
    Column("worker"),
    Column("process id"),
    Column("proportional (PSS)", Unit.BYTES),
    Column("resident (RSS)", Unit.BYTES),
    Column("share of the limit", Unit.RATIO),
    Column("objects"),
    Column("frozen objects"),
)
COLLECTIONS = (
    Column("worker"),
    Column("generation"),
    Column("collections"),
    Column("collected objects"),
    Column("uncollectable objects"),
)
GROWTH = (Column("type", code=True), Column("more"), Column("objects"))
GROWTH_BY_WORKER = (Column("worker"), Column("since", Unit.SECONDS), *GROWTH)
ALLOCATIONS = (Column("worker"), Column("line", code=True), Column("memory", Unit.BYTES), Column("blocks"))
NOTHING = "nothing has grown since then"
NO_ALLOCATIONS = (
    "To see allocations by line of code, set server.memory.tracemalloc = 1 and restart: it slows the service down."
)


def memory_page(queries: WorkerQueries, config: Memory, history: MemoryHistory) -> ConsolePage:
    """Return the page of memory of the workers that *queries* reaches; *history* is that of this one."""

    async def collect(query: Query) -> Any:
        return {**orjson.loads(await queries.run(TOPIC)), "history": [[*each] for each in history.samples]}

    async def render(view: PageView) -> Sequence[Block]:
        workers = {worker: each for worker, each in view.workers.items() if each is not None}
        available = available_memory()
        limit = None if config.limit is None else config.limit.of(available)
        return [
            _summary(list(workers.values()), available, limit),
            ActionForm("collect"),
            _usage(workers, limit or available),
            *_charts(workers, history.interval),
            *_growth(workers),
            _allocations(workers) if config.tracemalloc else Text(NO_ALLOCATIONS),
            _collections(workers),
        ]

    async def collect_garbage(values: Mapping[str, str]) -> str:
        return f"collected {await asyncio.to_thread(gc.collect)} objects"

    action = PageAction("collect", "Collect garbage now", collect_garbage, runs_in="all workers")
    description = "Memory of every worker against its limits and over time, and the types of objects that grow."
    return ConsolePage("memory", "Memory", render, collect, [action], PageGroup.PROCESS, description=description)


def _summary(workers: Sequence[Mapping[str, Any]], available: int, limit: int | None) -> Facts:
    used = sum(each["proportional_bytes"] for each in workers)
    facts = {
        "workers": used,
        "share of the available memory": used / available,
        "available (container or machine)": available,
        "limit of a worker": limit,
    }
    sizes = dict.fromkeys(facts, Unit.BYTES)
    return Facts(facts, "All workers", {**sizes, "share of the available memory": Unit.RATIO})


def _usage(workers: Mapping[str, Mapping[str, Any]], limit: int) -> DataTable:
    rows = [
        (
            worker,
            str(each["pid"]),
            each["proportional_bytes"],
            each["resident_bytes"],
            each["proportional_bytes"] / limit,
            each["objects"],
            each["frozen_objects"],
        )
        for worker, each in workers.items()
    ]
    return DataTable(WORKERS, rows, "Workers")


def _charts(workers: Mapping[str, Mapping[str, Any]], interval: float) -> list[Chart]:
    """Return the memory of each worker over time; a new worker has a shorter line."""

    def series(place: int) -> list[Series]:
        return [
            Series(f"worker {worker}", [sample[place] for sample in each["history"]])
            for worker, each in workers.items()
        ]

    return [
        Chart("RSS, in the last hours", series(0), interval, Unit.BYTES),
        Chart("Blocks of Python objects, in the last hours", series(1), interval),
    ]


def _growth(workers: Mapping[str, Mapping[str, Any]]) -> list[Block]:
    """Return the growth in sum and by worker; at the first look there is nothing to compare with."""
    compared = {worker: each for worker, each in workers.items() if each["seconds_since_last_call"] is not None}
    if not compared:
        return [Text("Load the page again to see which types of objects have grown in the meantime.")]
    rows = [
        (worker, each["seconds_since_last_call"], growth["type"], growth["more"], growth["objects"])
        for worker, each in compared.items()
        for growth in each["growing"]
    ]
    age = max(each["seconds_since_first_call"] for each in compared.values())
    since_first = f"Types that have grown since the first look, {format_duration(age)} ago"
    return [
        _growth_in_sum(compared, "growing", "Types that have grown since the last look"),
        _growth_in_sum(compared, "growing_since_first_call", since_first),
        DataTable(GROWTH_BY_WORKER, rows, "Growth by worker", empty=NOTHING),
    ]


def _growth_in_sum(workers: Mapping[str, Mapping[str, Any]], key: str, title: str) -> DataTable:
    more: Counter[str] = Counter()
    objects: Counter[str] = Counter()
    for each in workers.values():
        for growth in each[key]:
            more[growth["type"]] += growth["more"]
            objects[growth["type"]] += growth["objects"]
    return DataTable(GROWTH, [(kind, count, objects[kind]) for kind, count in more.most_common()], title, empty=NOTHING)


def _allocations(workers: Mapping[str, Mapping[str, Any]]) -> DataTable:
    rows = [
        (worker, line["line"], line["bytes"], line["blocks"])
        for worker, each in workers.items()
        for line in each["allocations"] or ()
    ]
    return DataTable(ALLOCATIONS, rows, "Allocations by line")


def _collections(workers: Mapping[str, Mapping[str, Any]]) -> DataTable:
    rows = [
        (worker, generation, figures["collections"], figures["collected"], figures["uncollectable"])
        for worker, each in workers.items()
        for generation, figures in enumerate(each["collections"])
    ]
    return DataTable(COLLECTIONS, rows, "Garbage collection")
