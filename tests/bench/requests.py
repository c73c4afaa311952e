"""The requests that are measured, and what each is held to."""

from __future__ import annotations

from contextlib import ExitStack

from tests.bench import inprocess
from tests.bench.inprocess import Case, Overhead
from tests.bench.row import Goal, Row
from tests.servers import Redis, missing

CASES = [
    Case("starlette_bare", "Starlette"),
    Case("scalekit_empty", "ScaleKit, no plugins", goal=Goal("more", 2)),
    Case("scalekit_guarded", "ScaleKit, hosts and trusted proxies"),
    Case("scalekit_health", "ScaleKit, /health/ready while a dependency hangs", goal=Goal("figure", 1000)),
    Case("metrics_on", "ScaleKit, metrics", "metrics", over="scalekit_empty", goal=Goal("more", 2)),
    Case("logging_on", "ScaleKit, access log to a file", "logging", over="scalekit_empty", goal=Goal("more", 4)),
    Case("both_on", "ScaleKit, metrics and access log", "logging", over="scalekit_empty"),
    Case("cache_hit", "ScaleKit, an answer from the process's cache", "cache", goal=Goal("figure", 6)),
    Case("cache_none", "ScaleKit, no plugins, another question each time", "cache"),
    Case("cache_miss", "ScaleKit, an answer that the cache keeps", "cache", over="cache_none", goal=Goal("more", 15)),
    Case("cache_pass", "ScaleKit, an answer that the cache must not keep", "cache", over="scalekit_empty"),
    Case("fastapi_bare", "FastAPI", peer="fastapi"),
    Case("fastapi_observed", "FastAPI, metrics and access log", "logging", peer="fastapi", over="fastapi_bare"),
    Case("litestar_bare", "Litestar", peer="litestar"),
    Case("litestar_observed", "Litestar, metrics and access log", "logging", peer="litestar", over="litestar_bare"),
    Case("fastapi_full", "FastAPI, its usual stack on Redis, a cached answer", "stack", peer="fastapi"),
    Case("litestar_full", "Litestar, its own stack on Redis, a cached answer", "stack", peer="litestar"),
]
OVERHEADS = [
    Overhead("overhead of metrics and access log: FastAPI", "logging", "fastapi_observed", "both_on", 10),
    Overhead("overhead of metrics and access log: Litestar", "logging", "litestar_observed", "both_on", 10),
]


def measure(plugin: str, rounds: int, seconds: float) -> list[Row]:
    """Return the rows of *plugin*, or all if it is empty."""
    with ExitStack() as stack:
        addresses = {} if missing("redis") else {"redis": stack.enter_context(Redis()).url}
        return inprocess.measure(chosen(plugin), OVERHEADS, addresses, rounds, seconds)


def chosen(plugin: str) -> list[Case]:
    """Return the cases of *plugin* and all that they are compared with, or every case."""
    by_module = {case.module: case for case in CASES}
    wanted: set[str] = {case.module for case in CASES if plugin in ("", case.plugin)}
    compared = wanted
    while compared:
        compared = {by_module[name].over for name in compared} - wanted
        wanted |= compared
    return [case for case in CASES if case.module in wanted]
