"""Hooks of the plugin ``ratelimit``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Container, Sequence
from contextlib import asynccontextmanager
from typing import Any

from scalekit import (
    Check,
    ConfigError,
    Context,
    Diagnostic,
    Key,
    Layer,
    LayeredFilter,
    Lifespan,
    Problem,
    ServerRequirement,
    Severity,
    Table,
    hookimpl,
    required_server,
    separate_stores,
    warn_about_multiple_processes,
)
from scalekit.contracts import ADVISERS, DATABASE, LIMITS, Advice
from scalekit.pages import ConsolePage
from scalekit.telemetry import TELEMETRY, Instrument, instruments_in
from scalekit_ratelimit import metrics
from scalekit_ratelimit.config import RateLimitConfig
from scalekit_ratelimit.factory import open_limiter, verify_store
from scalekit_ratelimit.filters import HandlerLimitFilter, LimitFilter
from scalekit_ratelimit.handler_limits import ApplicationLimits
from scalekit_ratelimit.limit_statistics import STATISTICS, LimitStatistics
from scalekit_ratelimit.limiter import Limiter
from scalekit_ratelimit.load_shedding import LoadShedder, LoadSheddingFilter, build_load_shedder
from scalekit_ratelimit.metrics import RateLimitMetrics
from scalekit_ratelimit.pages import LimitsPage
from scalekit_ratelimit.policies import build_application_policies, build_policies, needs_user
from scalekit_redis import RedisContents, RedisUse, redis_diagnostics, redis_instruments

SEPARATE_COUNTS = "each of them allows the whole limit"
REMEDY = 'set url = "redis://..." or "database:", or per_worker = true to accept that'


class LimitFilters:
    """The filters of one application."""

    def __init__(self) -> None:
        self.before_authentication = LimitFilter(after_authentication=False)
        self.after_authentication = LimitFilter(after_authentication=True)
        self.handlers = HandlerLimitFilter()
        self.load_shedding = LoadSheddingFilter()

    def set_limiter(self, limiter: Limiter | None, shedder: LoadShedder | None) -> None:
        """Make the filters use *limiter* and *shedder*, or nothing when these are None."""
        self.before_authentication.limiter = self.after_authentication.limiter = self.handlers.limiter = limiter
        self.load_shedding.shedder = shedder


FILTERS: Key[LimitFilters] = Key("rate limit filters", plugin="ratelimit")


@hookimpl
def scalekit_config() -> type[Table]:
    """Return the model of ``[plugins.ratelimit]``."""
    return RateLimitConfig


@hookimpl
def scalekit_lifespan(context: Context) -> Lifespan:
    """Return the lifespan of the limiter."""
    config = context.config(RateLimitConfig)
    policies, application_policies = build_policies(config), build_application_policies(config)
    filters = context.shared(FILTERS, LimitFilters)

    def verify(provided: Container[Key[Any]]) -> None:
        _verify_workers(config, context.server.workers)
        verify_store(config, DATABASE in provided)

    @asynccontextmanager
    async def run() -> AsyncGenerator[None, None]:
        policies.statistics = context.get(STATISTICS) if context.has(STATISTICS) else None
        metrics = RateLimitMetrics(context.get(TELEMETRY), policies.statistics)
        shedder = build_load_shedder(config, policies, metrics)
        async with open_limiter(config, policies, metrics, context) as limiter:
            filters.set_limiter(limiter, shedder)
            if _counts_per_process(config):
                warn_about_multiple_processes(context, "plugins.ratelimit.url is memory:", SEPARATE_COUNTS, REMEDY)
            context.provide(LIMITS, ApplicationLimits(application_policies, limiter))
            try:
                with metrics.export_gauges(lambda: len(limiter.memory), shedder.sample if shedder else None):
                    yield
            finally:
                filters.set_limiter(None, None)

    return Lifespan(run, provides=(LIMITS,), after=(DATABASE,), verify=verify)


@hookimpl
def scalekit_servers(context: Context) -> Sequence[ServerRequirement]:
    """Return the Redis that counts requests."""
    return required_server(context.config(RateLimitConfig).url, "plugins.ratelimit.url", "rate limits")


@hookimpl
def scalekit_diagnostics(context: Context) -> Sequence[Diagnostic]:
    """Return the diagnostic of the Redis that counts requests, or of the memory."""
    url = context.config(RateLimitConfig).url
    if scalekit_servers(context):
        use = RedisUse("plugins.ratelimit.url", "rate limits", RedisContents.COUNTERS)
        return redis_diagnostics(context, url.reveal(), use)
    if url.scheme != "memory":
        return []
    message = "a client has its whole limit at each of them"
    return separate_stores(context, Severity.WARNING, message, "plugins.ratelimit.url", "set url to a Redis")


@hookimpl
def scalekit_metrics(context: Context) -> Sequence[Instrument[Any]]:
    """Return the metrics of the limits and, when Redis is used, of its client."""
    config = context.config(RateLimitConfig)
    return [*instruments_in(metrics), *(redis_instruments(config.url.reveal()) if config.store == "redis" else ())]


@hookimpl
def scalekit_filters(context: Context) -> Sequence[LayeredFilter]:
    """Return the filters before and after authentication, of handlers, and of load shedding."""
    config = context.config(RateLimitConfig)
    filters = context.shared(FILTERS, LimitFilters)
    filters.handlers.application_limits = any(table.by_application for table in config.policies)
    layers = [
        LayeredFilter(Layer.LIMIT_CLIENT, filters.before_authentication),
        LayeredFilter(Layer.RESOURCES, filters.handlers),
    ]
    if any(needs_user(table.key, table.exempt) for table in config.policies if not table.by_application):
        layers.append(LayeredFilter(Layer.LIMIT_SUBJECT, filters.after_authentication))
    if config.concurrency is not None:
        layers.insert(0, LayeredFilter(Layer.LIMIT_CLIENT, filters.load_shedding))
    return layers


@hookimpl
def scalekit_pages(context: Context) -> Sequence[ConsolePage]:
    """Return the page of the limits, begin to record their decisions, and give advice on the configuration."""
    filters = context.shared(FILTERS, LimitFilters)
    context.shared(ADVISERS, list).append(lambda: _advise(context.config(RateLimitConfig), context.server.workers or 1))
    application_policies = build_application_policies(context.config(RateLimitConfig))
    statistics = context.shared(STATISTICS, LimitStatistics)
    return [LimitsPage(filters.before_authentication, filters.load_shedding, application_policies, statistics).page()]


@hookimpl
def scalekit_health(context: Context) -> Sequence[Check]:
    """Return the check of the shared store; it is critical when an outage refuses all requests."""
    config = context.config(RateLimitConfig)
    filters = context.shared(FILTERS, LimitFilters)

    async def probe() -> None:
        limiter = filters.before_authentication.limiter
        if limiter is not None and limiter.shared is not None:
            await limiter.shared.circuit_breaker.check_health()

    if config.store == "memory":
        return []
    return [Check("ratelimit", probe, critical=config.on_error == "refuse")]


def _advise(config: RateLimitConfig, workers: int) -> list[Advice]:
    """Return advice when each of several workers allows the whole limit."""
    if workers == 1 or config.store != "memory":
        return []
    text = f"Each of {workers} workers counts requests for itself: a client may send {workers} times its limit."
    return [Advice(text, 'Set url = "redis://..." or "database:" in [plugins.ratelimit], which all workers share.')]


def _counts_per_process(config: RateLimitConfig) -> bool:
    """Return whether each process has its own counters although ``per_worker`` is not set."""
    return config.store == "memory" and not config.per_worker and bool(config.default or config.policies)


def _verify_workers(config: RateLimitConfig, workers: int | None) -> None:
    if (workers or 1) > 1 and _counts_per_process(config):
        message = f"memory: is separate in each of {workers} workers, so {workers} times the limit is allowed; {REMEDY}"
        raise ConfigError([Problem(message, "plugins.ratelimit.url", plugin="ratelimit")])
