"""The page of memory: usage of every worker against its limits, garbage collection, and which types of objects grow."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from scalekit.config.tables import Memory
from scalekit.pages.blocks import ActionForm, Block, Column, DataTable, Facts, Text, Unit
from scalekit.pages.page import ConsolePage, PageAction, PageGroup, PageView, Query
from scalekit.runner.memory.heap_growth import TOPIC
from scalekit.runner.memory.usage import available_memory
from scalekit.runner.workers.worker_queries import WorkerQueries

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
NO_ALLOCATIONS = (
    "To see allocations by line of code, set server.memory.tracemalloc = 1 and restart: it slows the service down."
)


def memory_page(queries: WorkerQueries, config: Memory) -> ConsolePage:
    """Return the page of memory of the workers that *queries* reaches."""

    async def collect(query: Query) -> Any:
        return orjson.loads(await queries.run(TOPIC))

    async def render(view: PageView) -> Sequence[Block]:
        workers = {worker: each for worker, each in view.workers.items() if each is not None}
        available = available_memory()
        limit = None if config.limit is None else config.limit.of(available)
        return [
            _summary(list(workers.values()), available, limit),
            ActionForm("collect"),
            _usage(workers, limit or available),
            *_growth(workers),
            _allocations(workers) if config.tracemalloc else Text(NO_ALLOCATIONS),
            _collections(workers),
        ]

    async def collect_garbage(values: Mapping[str, str]) -> str:
        return f"collected {await asyncio.to_thread(gc.collect)} objects"

    action = PageAction("collect", "Collect garbage now", collect_garbage, runs_in="all workers")
    description = "Memory of every worker against its limits, garbage collection, and the types of objects that grow."
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


def _growth(workers: Mapping[str, Mapping[str, Any]]) -> list[Block]:
    """Return the growth in sum and by worker; at the first look there is nothing to compare with."""
    compared = {worker: each for worker, each in workers.items() if each["seconds_since_last_call"] is not None}
    if not compared:
        return [Text("Load the page again to see which types of objects have grown in the meantime.")]
    more: Counter[str] = Counter()
    objects: Counter[str] = Counter()
    for each in compared.values():
        for growth in each["growing"]:
            more[growth["type"]] += growth["more"]
            objects[growth["type"]] += growth["objects"]
    rows = [
        (worker, each["seconds_since_last_call"], growth["type"], growth["more"], growth["objects"])
        for worker, each in compared.items()
        for growth in each["growing"]
    ]
    total = [(kind, count, objects[kind]) for kind, count in more.most_common()]
    nothing = "nothing has grown since the last look"
    blocks: list[Block] = [DataTable(GROWTH, total, "Types that have grown since the last look", empty=nothing)]
    return [*blocks, DataTable(GROWTH_BY_WORKER, rows, "Growth by worker", empty=nothing)]


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
