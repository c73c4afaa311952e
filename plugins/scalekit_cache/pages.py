"""The page of the cache: outcomes by worker and route, memory, what is stored and what is not, purges, and advice."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from scalekit import Context
from scalekit.contracts import CACHE, Advice
from scalekit.pages import (
    ActionForm,
    Block,
    Cell,
    Column,
    ConsolePage,
    DataTable,
    Facts,
    FormField,
    Notice,
    PageAction,
    PageView,
    Unit,
)
from scalekit_cache.cache_status import NotStored
from scalekit_cache.config import CacheConfig
from scalekit_cache.filters import CacheFilter
from scalekit_cache.metrics import OUTCOMES
from scalekit_cache.not_stored_reasons import EXPLANATIONS
from scalekit_cache.stored_blocks import lookup_blocks, stored_in_memory
from scalekit_cache.stored_counts import count_local, route_blocks, tag_blocks

WITHOUT_APPLICATION = ("hit", "stale", "collapsed", "revalidated")
"""Outcomes of requests for which the application did not make a response."""
WORKERS = (
    Column("worker"),
    *map(Column, OUTCOMES),
    Column("items"),
    Column("memory", Unit.BYTES),
    Column("memory used", Unit.RATIO),
    Column("evictions"),
)
ROUTES = (Column("route", code=True), Column("requests"), Column("hit ratio", Unit.RATIO), *map(Column, OUTCOMES))
SHOWN_ROUTES = 500
REASONS = (Column("reason"), Column("explanation"), Column("responses"))
EXPLAINED = {reason.name.lower(): text for reason, text in EXPLANATIONS.items()}
ADVISED_FROM = 100
"""Responses of a worker that are not stored for one reason, from which it is advice."""
COOKIES = {
    NotStored.COOKIE: Advice(
        "Responses are not stored because the requests have cookies.",
        'If no response depends on a cookie, set cookies = "ignore" in [plugins.cache], or in the policies of those '
        "paths of which that is true.",
    ),
    NotStored.SET_COOKIE: Advice(
        "Responses are not stored because they set cookies.",
        "Let the application set a cookie only where it has to, such as at the login, not in every response.",
    ),
}


def cache_page(context: Context, config: CacheConfig, cache_filter: CacheFilter) -> ConsolePage:
    """Return the page of the cache of *cache_filter*."""

    async def collect(query: Mapping[str, str]) -> dict[str, Any] | None:
        described, cache = _describe(cache_filter), cache_filter.cache
        if described is None or cache is None:
            return None
        counted = count_local(cache.store, query)
        return {**described, "stored": stored_in_memory(cache_filter, query), "counted": counted}

    async def render(view: PageView) -> Sequence[Block]:
        running = {worker: each for worker, each in view.workers.items() if each is not None}
        suspended = [
            Notice(f"Worker {worker} bypasses the cache.", "See pending purges in the log.")
            for worker in view.workers.keys() - running.keys()
        ]
        workers = list(running.values())
        return [
            *suspended,
            _summary(config, workers),
            ActionForm("purge"),
            _table(running, config.memory_size),
            _reasons(workers),
            _routes(workers),
            *(await route_blocks(cache_filter, running)),
            *(await tag_blocks(cache_filter, view.query, running)),
            *(await lookup_blocks(cache_filter, config, view.query, running)),
        ]

    async def purge(values: Mapping[str, str]) -> str:
        tag, path = values["tag"], _path_of(values["url"])
        if not tag and not path:
            raise ValueError("nothing to purge; fill in a tag or a URL")
        await context.get(CACHE).purge(tag=tag or (), path=path or ())
        return f"purged {' and '.join(filter(None, (tag and f'tag {tag}', path and f'path {path}')))}"

    action = PageAction(
        "purge",
        "Purge",
        purge,
        [
            FormField("tag", "Tag", placeholder="products"),
            FormField("url", "URL or path", placeholder="/products/**"),
        ],
        "one worker" if config.shared else "all workers",  # each worker has a store of its own
    )
    description = (
        "Hits and misses by route, memory, why responses are not stored, what is stored by route, for a URL and with a "
        "tag, and purges."
    )
    return ConsolePage("cache", "Cache", render, collect, [action], description=description)


def _describe(cache_filter: CacheFilter) -> dict[str, Any] | None:
    """Return the figures of this worker, None while it bypasses the cache."""
    cache = cache_filter.cache
    if cache is None:
        return None
    items, size, evictions = cache.store.statistics()
    outcomes = {outcome: getattr(cache.metrics, outcome).value for outcome in OUTCOMES}
    not_stored = {reason.name.lower(): count for reason, count in cache.not_stored.items()}
    routes = cache.metrics.routes.counts if cache.metrics.routes is not None else {}
    return {
        **outcomes,
        "items": items,
        "bytes": size,
        "evictions": evictions,
        "not_stored": not_stored,
        "routes": {route: dict(counts) for route, counts in routes.items()},
    }


def advise(cache_filter: CacheFilter, config: CacheConfig, workers: int) -> Iterator[Advice]:
    """Yield what the cache of *cache_filter* has seen that a change of the configuration could improve."""
    if not config.shared and workers > 1:
        yield Advice(
            f"Each of {workers} workers has a cache of its own in memory: the application makes a response once in "
            "each, and a purge by the application reaches one of them.",
            'Set url = "redis://..." in [plugins.cache].',
        )
    counts = {} if cache_filter.cache is None else cache_filter.cache.not_stored
    yield from (advice for reason, advice in COOKIES.items() if counts.get(reason, 0) >= ADVISED_FROM)


def _path_of(url: str) -> str:
    """Return the path that *url*, a URL or a path, has: queries and hosts of a path are purged together."""
    return urlsplit(url).path if "://" in url else url.partition("?")[0]


def _summary(config: CacheConfig, workers: Sequence[Mapping[str, Any]]) -> Facts:
    total = {outcome: sum(each[outcome] for each in workers) for outcome in OUTCOMES}
    requests = sum(total.values())
    served = sum(total[outcome] for outcome in WITHOUT_APPLICATION)
    facts = {
        "hit ratio": (total["hit"] + total["stale"]) / requests if requests else None,
        "without the application": served / requests if requests else None,
        "GET and HEAD requests": requests,
        "store": str(config.url),
        "memory per worker": int(config.memory_size),
    }
    units = {"hit ratio": Unit.RATIO, "without the application": Unit.RATIO, "memory per worker": Unit.BYTES}
    return Facts(facts, "Since the start", units)


def _table(workers: Mapping[str, Mapping[str, Any]], memory_size: int) -> DataTable:
    rows = [
        (
            worker,
            *(each[outcome] for outcome in OUTCOMES),
            each["items"],
            each["bytes"],
            each["bytes"] / memory_size if memory_size else None,
            each["evictions"],
        )
        for worker, each in workers.items()
    ]
    return DataTable(WORKERS, rows, "Workers")


def _reasons(workers: Sequence[Mapping[str, Any]]) -> DataTable:
    total: Counter[str] = Counter()
    for each in workers:
        total.update(each["not_stored"])
    rows = [(name.replace("_", " "), EXPLAINED[name], count) for name, count in total.most_common()]
    return DataTable(REASONS, rows, "Responses that were not stored", empty="all responses were stored")


def _routes(workers: Sequence[Mapping[str, Any]]) -> DataTable:
    totals: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for worker in workers:
        for route, counts in worker["routes"].items():
            totals[route].update(counts)
    ranked = sorted(totals.items(), key=lambda item: -item[1].total())
    rows: list[Sequence[Cell]] = [
        (
            route or "no route",
            counts.total(),
            (counts["hit"] + counts["stale"]) / counts.total(),
            *(counts[outcome] for outcome in OUTCOMES),
        )
        for route, counts in ranked[:SHOWN_ROUTES]
    ]
    return DataTable(ROUTES, rows, "Routes", max(0, len(ranked) - SHOWN_ROUTES), empty="no requests")
