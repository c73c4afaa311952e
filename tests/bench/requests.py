"""The request benchmarks and their goals."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

from tests.bench import inprocess
from tests.bench.inprocess import Case, Overhead
from tests.bench.row import Goal, Row
from tests.servers import Redis, RedisCluster, missing

CASES = [
    Case("starlette_bare", "Starlette"),
    Case("scalekit_empty", "ScaleKit, no plugins", goal=Goal("more", 2)),
    Case("scalekit_guarded", "ScaleKit, hosts and trusted proxies"),
    Case("scalekit_health", "ScaleKit, /health/ready while a dependency hangs", goal=Goal("figure", 1000)),
    Case("metrics_on", "ScaleKit, metrics", "metrics", over="scalekit_empty", goal=Goal("more", 1.5)),
    Case("logging_on", "ScaleKit, access log to a file", "logging", over="scalekit_empty", goal=Goal("more", 3.5)),
    Case("both_on", "ScaleKit, metrics and access log", "logging", over="scalekit_empty"),
    Case("cors_on", "ScaleKit, CORS, a request of no page", "cors", over="scalekit_empty", goal=Goal("more", 0.5)),
    Case("cors_page", "ScaleKit, CORS, a page", "cors", over="scalekit_empty", goal=Goal("more", 0.5)),
    Case("headers_on", "ScaleKit, security headers", "headers", over="scalekit_empty", goal=Goal("more", 0.5)),
    Case(
        "compression_on",
        "ScaleKit, compression of a response that is too small",
        "compression",
        over="scalekit_empty",
        goal=Goal("more", 0.3),
    ),
    Case(
        "cache_hit_br",
        "ScaleKit, the same, compressed by Brotli",
        "compression",
        over="cache_hit",
        goal=Goal("ratio", 1.1),
    ),
    Case("console_on", "ScaleKit, console, nobody looks", "console", over="scalekit_empty", goal=Goal("more", 0.3)),
    Case("tracing_off", "ScaleKit, four spans of the application, tracing off", "tracing", over="scalekit_empty"),
    Case(
        "tracing_dropped",
        "ScaleKit, five spans that are not kept",
        "tracing",
        over="tracing_off",
        goal=Goal("more", 6),
    ),
    Case("tracing_kept", "ScaleKit, five spans, exported", "tracing", over="tracing_off", goal=Goal("more", 50)),
    Case("otel_bare", "Starlette, in the environment of OpenTelemetry", "tracing", peer="otel"),
    Case("otel_kept", "Starlette, OpenTelemetry, five spans, exported", "tracing", peer="otel", over="otel_bare"),
    Case("limit_on", "ScaleKit, a limit in memory", "ratelimit", over="scalekit_empty", goal=Goal("more", 2.5)),
    Case(
        "limit_redis",
        "ScaleKit, a limit in Redis",
        "ratelimit",
        over="scalekit_empty",
        goal=Goal("more", 10),
        needs="redis",
    ),
    Case("limit_refused", "ScaleKit, a limit in memory that is reached", "ratelimit", goal=Goal("ratio", 0.3)),
    Case(
        "limit_redis_refused",
        "ScaleKit, a limit in Redis that is reached",
        "ratelimit",
        over="limit_refused",
        needs="redis",
    ),
    Case("limit_cluster", "ScaleKit, a limit in a cluster", "ratelimit", over="scalekit_empty", needs="cluster"),
    Case(
        "limit_cached",
        "ScaleKit, a limit and a cached response, one trip",
        "ratelimit",
        over="cache_redis_hit",
        goal=Goal("more", 10),
        needs="redis",
    ),
    Case("cache_hit", "ScaleKit, a response from the process's cache", "cache", goal=Goal("figure", 6)),
    Case("cache_none", "ScaleKit, no plugins, another query each time", "cache"),
    Case("cache_miss", "ScaleKit, a response that the cache stores", "cache", over="cache_none", goal=Goal("more", 15)),
    Case("cache_rows", "ScaleKit, a response from a table of SQLite that the cache stores", "cache"),
    Case("cache_rows_tagged", "ScaleKit, the same with tags from SQL", "cache", over="cache_rows"),
    Case("cache_pass", "ScaleKit, a response that the cache must not store", "cache", over="scalekit_empty"),
    Case(
        "cache_redis_near",
        "ScaleKit, a response from the process before Redis",
        "cache",
        goal=Goal("figure", 6),
        needs="redis",
    ),
    Case("cache_redis_hit", "ScaleKit, a response from Redis", "cache", goal=Goal("figure", 20), needs="redis"),
    Case(
        "cache_redis_miss",
        "ScaleKit, a response that Redis stores",
        "cache",
        over="cache_none",
        goal=Goal("more", 20),
        needs="redis",
    ),
    Case(
        "cache_cluster_hit",
        "ScaleKit, a response from a cluster",
        "cluster-cache",
        over="cache_redis_hit",
        goal=Goal("ratio", 1.3),
        needs="cluster",
    ),
    Case("jwt_known", "ScaleKit, a known token with its cookie", "jwt", over="scalekit_empty", goal=Goal("more", 3)),
    Case("jwt_alone", "ScaleKit, a known token", "jwt", over="scalekit_empty", goal=Goal("more", 1.5)),
    Case("pool_on", "ScaleKit, a pool that is not used", "pool", over="scalekit_empty"),
    Case(
        "statements_uncounted",
        "ScaleKit, twenty statements on SQLite",
        "pool",
        over="statements_uncounted",
        statements=20,
    ),
    Case(
        "statements_counted",
        "ScaleKit, the same counted by a query budget (N+1)",
        "pool",
        over="statements_uncounted",
        goal=Goal("more", 0.3),
        statements=20,
    ),
    Case("queue_on", "ScaleKit, an idle queue", "queue", over="scalekit_empty"),
    Case("discovery_on", "ScaleKit, idle discovery", "discovery", over="scalekit_empty"),
    Case("fastapi_bare", "FastAPI", peer="fastapi"),
    Case("fastapi_observed", "FastAPI, metrics and access log", "logging", peer="fastapi", over="fastapi_bare"),
    Case("litestar_bare", "Litestar", peer="litestar"),
    Case("litestar_observed", "Litestar, metrics and access log", "logging", peer="litestar", over="litestar_bare"),
    Case(
        "fastapi_cached",
        "FastAPI, fastapi-cache2 on Redis",
        "cache",
        peer="fastapi",
        over="fastapi_bare",
        needs="redis",
    ),
    Case(
        "litestar_cached", "Litestar, its cache on Redis", "cache", peer="litestar", over="litestar_bare", needs="redis"
    ),
    Case("fastapi_limited", "FastAPI, slowapi in memory", "ratelimit", peer="fastapi", over="fastapi_bare"),
    Case("litestar_limited", "Litestar, its limit in memory", "ratelimit", peer="litestar", over="litestar_bare"),
    Case("fastapi_tokens", "FastAPI, PyJWT in a dependency", "jwt", peer="fastapi", over="fastapi_bare"),
    Case("litestar_tokens", "Litestar, its JWTAuth", "jwt", peer="litestar", over="litestar_bare"),
    Case("stack_memory_cached", "ScaleKit, all on, cached", "stack", goal=Goal("ratio", 0.45)),
    Case(
        "stack_redis_cached",
        "ScaleKit, all on Redis, cached",
        "stack",
        goal=Goal("ratio", 0.8),
        needs="redis",
    ),
    Case(
        "stack_redis_near",
        "ScaleKit, all on Redis, cached in the process",
        "stack",
        goal=Goal("ratio", 0.75),
        needs="redis",
    ),
    Case("stack_memory_none", "ScaleKit, all on, no cache", "stack", goal=Goal("more", 9)),
    Case("stack_redis_none", "ScaleKit, all on Redis, no cache", "stack", goal=Goal("more", 14), needs="redis"),
    Case("stack_429", "ScaleKit, all on, refused with 429", "stack", goal=Goal("ratio", 0.4)),
    Case("stack_401", "ScaleKit, all on, refused with 401", "stack", goal=Goal("ratio", 0.35)),
    Case(
        "fastapi_full",
        "FastAPI, its usual stack on Redis, a cached response",
        "stack",
        peer="fastapi",
        goal=Goal("ratio", 40, "at least"),
        over="stack_redis_cached",
        needs="redis",
    ),
    Case(
        "litestar_full",
        "Litestar, its own stack on Redis, a cached response",
        "stack",
        peer="litestar",
        goal=Goal("ratio", 22, "at least"),
        over="stack_redis_cached",
        needs="redis",
    ),
]
OVERHEADS = [
    Overhead("overhead of metrics and access log: FastAPI", "logging", "fastapi_observed", "both_on", 10),
    Overhead("overhead of metrics and access log: Litestar", "logging", "litestar_observed", "both_on", 10),
    Overhead("overhead of five exported spans: OpenTelemetry", "tracing", "otel_kept", "tracing_kept", 10),
    Overhead("overhead of a limit: FastAPI", "ratelimit", "fastapi_limited", "limit_on", 10),
    Overhead("overhead of a limit: Litestar", "ratelimit", "litestar_limited", "limit_on", 10),
    Overhead("overhead of a token: FastAPI", "jwt", "fastapi_tokens", "jwt_known", 10),
    Overhead("overhead of a token: Litestar", "jwt", "litestar_tokens", "jwt_known", 10),
    Overhead("overhead of a cache on Redis: FastAPI", "cache", "fastapi_cached", "cache_redis_hit", 10),
    Overhead("overhead of a cache on Redis: Litestar", "cache", "litestar_cached", "cache_redis_hit", 10),
]


def measure(plugin: str, rounds: int, seconds: float) -> list[Row]:
    """Return the rows of *plugin*, by default all; cases whose server is not installed are skipped."""
    cases = [case for case in chosen(plugin) if not case.needs or not missing("redis")]
    with ExitStack() as stack:
        addresses: dict[str, str] = {
            kind: stack.enter_context(SERVERS[kind]()) for kind in {c.needs for c in cases if c.needs}
        }
        return inprocess.measure(cases, OVERHEADS, addresses, rounds, seconds)


@contextmanager
def _redis() -> Iterator[str]:
    with Redis("--maxmemory", "1gb", "--maxmemory-policy", "allkeys-lru") as server:
        yield server.url


@contextmanager
def _cluster() -> Iterator[str]:
    with RedisCluster() as cluster:
        yield "redis-cluster://" + ",".join(urlsplit(url).netloc for url in cluster.urls)


SERVERS = {"redis": _redis, "cluster": _cluster}


def chosen(plugin: str) -> list[Case]:
    """Return the cases of *plugin* and all that they are compared with, or every case."""
    by_module = {case.module: case for case in CASES}
    wanted: set[str] = {case.module for case in CASES if plugin in ("", case.plugin)}
    compared = wanted
    while compared:
        compared = {by_module[name].over for name in compared} - wanted
        wanted |= compared
    return [case for case in CASES if case.module in wanted]
