"""The blocks of the page of the cache about what is stored: responses by route, and items with one tag."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from scalekit.pages import ActionForm, Block, Cell, Column, DataTable, Facts, Notice, QueryForm, Unit
from scalekit_cache.codec import HttpCodec
from scalekit_cache.filters import CacheFilter
from scalekit_cache.stored_response import ROUTE, StoredResponse
from scalekit_caching import Store, TieredStore, count_items, count_tagged, local_items, name_tag, sample_heads

MAX_EXAMINED = 10_000
"""Items in the memory of a worker that are examined by route, which takes milliseconds of its event loop."""
MAX_TAGGED = 100_000
"""Items in the memory of a worker of which the tags are compared."""
MAX_SAMPLED = 1_000
"""Items in the shared store that are examined by route."""
MAX_SAMPLE_STEPS = 20
"""Steps in which the shared store is scanned for them: it may have many keys of others."""
MAX_SHARED_TAGGED = 10_000
"""Items in the shared store of which the tags are compared."""
HEAD_SIZE = 8192
"""Bytes of an item that are read, which include its route."""
SAMPLE_TIMEOUT, COUNT_TIMEOUT = 1.0, 2.5
"""Seconds in which the shared store must respond; the page must be rendered within five."""
MAX_ROUTES = 100
FIELDS = {"tag": "Tag"}
ROUTES = (
    Column("route", code=True),
    Column("responses in memory"),
    Column("memory", Unit.BYTES),
    Column("responses in the shared store"),
    Column("size in the shared store", Unit.BYTES),
)

Counts = dict[str, tuple[int, int]]
"""Responses and bytes by route."""


def count_local(store: Store, query: Mapping[str, str]) -> dict[str, Any]:
    """Return the responses in the memory of this worker by route, and those with the tag of *query*."""
    examined = list(islice(local_items(store), MAX_EXAMINED))
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for item in examined:
        if isinstance(item, StoredResponse):
            route = str(item.route_scope.get(ROUTE, ""))
            counts[route] += 1
            sizes[route] += item.size
    tag = query.get("tag", "").strip()
    return {
        "by_route": {route: (counts[route], sizes[route]) for route, _ in sizes.most_common(MAX_ROUTES)},
        "examined": len(examined),
        "tagged": count_tagged(store, name_tag(tag), MAX_TAGGED) if tag else None,
    }


async def route_blocks(cache_filter: CacheFilter, workers: Mapping[str, Mapping[str, Any]]) -> list[Block]:
    """Return the responses by route, in the memory of all *workers* and in a sample of their store."""
    local: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for each in workers.values():
        for route, (count, size) in each["counted"]["by_route"].items():
            local[route] += count
            sizes[route] += size
    notices: list[Block] = []
    shared: Counts = {}
    title = "Stored by route"
    try:
        shared, is_whole = await _sample(cache_filter)
        title += "" if is_whole else f"; of the shared store a sample of about {MAX_SAMPLED:,} items"
    except Exception as error:  # whatever the client of the store raises
        notices.append(_unreadable(error))
    if any(each["counted"]["examined"] < each["items"] for each in workers.values()):
        title += f"; of the memory of a worker the first {MAX_EXAMINED:,} items"
    ranked = sorted({*sizes, *shared}, key=lambda route: -(sizes[route] + shared.get(route, (0, 0))[1]))
    is_shared = _tiered(cache_filter) is not None
    rows = [_row(route, local[route], sizes[route], shared if is_shared else None) for route in ranked[:MAX_ROUTES]]
    return [*notices, DataTable(ROUTES, rows, title, max(0, len(ranked) - MAX_ROUTES), "no responses")]


def _row(route: str, count: int, size: int, shared: Counts | None) -> Sequence[Cell]:
    stored: Sequence[Cell] = (None, None) if shared is None else shared.get(route, (0, 0))
    return (route or "no route", count, size, *stored)


async def _sample(cache_filter: CacheFilter) -> tuple[Counts, bool]:
    """Return what a sample of the shared store has by route, and whether the sample is the whole store."""
    store = _tiered(cache_filter)
    if store is None:
        return {}, True
    async with asyncio.timeout(SAMPLE_TIMEOUT):
        heads, is_whole = await sample_heads(store, HEAD_SIZE, max_items=MAX_SAMPLED, max_steps=MAX_SAMPLE_STEPS)
    codec = HttpCodec()
    counts: Counts = {}
    for head in heads:
        if found := codec.route_and_size(head):
            route, size = found
            before = counts.get(route, (0, 0))
            counts[route] = before[0] + 1, before[1] + size
    return counts, is_whole


async def tag_blocks(
    cache_filter: CacheFilter, query: Mapping[str, str], workers: Mapping[str, Mapping[str, Any]]
) -> list[Block]:
    """Return the form for a tag, and the numbers of items with the tag of *query*."""
    tag = query.get("tag", "").strip()
    form = QueryForm(FIELDS, {"tag": tag}, "Count")
    if not tag:
        return [form]
    facts: dict[str, Cell] = {}
    for worker, each in workers.items():
        number, is_complete = each["counted"]["tagged"]
        facts[f"memory of worker {worker}"] = number if is_complete else f"at least {number:,}"
    notices: list[Block] = []
    store = _tiered(cache_filter)
    if store is not None:
        try:
            async with asyncio.timeout(COUNT_TIMEOUT):
                found = await count_items(store.shared_store, HttpCodec(), [name_tag(tag)], MAX_SHARED_TAGGED)
            facts["shared store"] = found.number if found.complete else f"at least {found.number:,}"
        except Exception as error:  # whatever the client of the store raises
            notices.append(_unreadable(error))
    return [form, *notices, Facts(facts, f"Items with the tag {tag}"), ActionForm("purge", {"tag": tag, "url": ""})]


def _tiered(cache_filter: CacheFilter) -> TieredStore | None:
    store = None if cache_filter.cache is None else cache_filter.cache.store
    return store if isinstance(store, TieredStore) else None


def _unreadable(error: Exception) -> Notice:
    reason = "it takes too long" if isinstance(error, TimeoutError) else f"{type(error).__name__}: {error}"
    return Notice(f"The shared store cannot be counted: {reason}")
