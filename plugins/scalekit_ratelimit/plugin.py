"""How limits join the host."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Container, Sequence
from contextlib import asynccontextmanager
from typing import Any

from scalekit import (
    Check,
    ConfigError,
    Context,
    Key,
    Layer,
    LayeredFilter,
    Lifespan,
    Problem,
    Table,
    hookimpl,
    warn_about_multiple_processes,
)
from scalekit.contracts import LIMITS
from scalekit.telemetry import TELEMETRY, Instrument, instruments_in
from scalekit_ratelimit import metrics
from scalekit_ratelimit.application_limits import ApplicationLimits
from scalekit_ratelimit.config import RateLimitConfig
from scalekit_ratelimit.factory import open_limiter
from scalekit_ratelimit.filters import HandlerLimitFilter, LimitFilter
from scalekit_ratelimit.limiter import Limiter
from scalekit_ratelimit.load_shedding import LoadShedder, LoadSheddingFilter
from scalekit_ratelimit.policies import code_policies, needs_user, policies
from scalekit_redis import metrics as redis_metrics
from scalekit_redis import redis_connections, verify_redis

APART = "each counts for itself, which lets through as many times the limit"
SHARE = 'write url = "redis://...", or per_worker = true if that is what you want'


class LimitFilters:
    """The filters of one application: by address, by user, of handlers, and load shedding."""

    def __init__(self) -> None:
        self.by_address = LimitFilter(by_user=False)
        self.by_user = LimitFilter(by_user=True)
        self.handlers = HandlerLimitFilter()
        self.load_shedding = LoadSheddingFilter()

    def start(self, limits: Limiter | None, shedder: LoadShedder | None) -> None:
        """Let the filters count with *limits* and *shedder*, or no more."""
        self.by_address.limits = self.by_user.limits = self.handlers.limits = limits
        self.load_shedding.shedder = shedder


FILTERS: Key[LimitFilters] = Key("rate limit filters", plugin="ratelimit")


@hookimpl
def scalekit_config() -> type[Table]:
    """Return the model of ``[plugins.ratelimit]``."""
    return RateLimitConfig


@hookimpl
def scalekit_lifespan(context: Context) -> Lifespan:
    """Return what keeps the limits open."""
    config = context.config(RateLimitConfig)
    chosen, in_code = policies(config), code_policies(config)
    filters = context.shared(FILTERS, LimitFilters)

    def verify(given: Container[Key[Any]]) -> None:
        _refuse_several_counts(config, context.server.workers)
        if config.url.scheme != "memory":
            verify_redis(config.url.reveal())

    @asynccontextmanager
    async def run() -> AsyncGenerator[None, None]:
        async with open_limiter(config, chosen, redis_connections(context), context.get(TELEMETRY)) as (
            limits,
            shedder,
        ):
            filters.start(limits, shedder)
            if _counts_apart(config):
                warn_about_multiple_processes(context, "plugins.ratelimit.url is memory:", APART, SHARE)
            context.provide(LIMITS, ApplicationLimits(in_code, limits))
            try:
                yield
            finally:
                filters.start(None, None)

    return Lifespan(run, provides=(LIMITS,), verify=verify)


@hookimpl
def scalekit_metrics(context: Context) -> Sequence[Instrument[Any]]:
    """Return what is counted."""
    config = context.config(RateLimitConfig)
    return instruments_in(metrics, *([redis_metrics] if config.url.reveal() != "memory:" else []))


@hookimpl
def scalekit_filters(context: Context) -> Sequence[LayeredFilter]:
    """Return what refuses by address, and once it is known who asks by subject."""
    config = context.config(RateLimitConfig)
    filters = context.shared(FILTERS, LimitFilters)
    filters.handlers.in_code = any(table.in_code for table in config.policies)
    layers = [LayeredFilter(Layer.LIMIT_CLIENT, filters.by_address), LayeredFilter(Layer.RESOURCES, filters.handlers)]
    if any(needs_user(table.by, table.exempt) for table in config.policies if not table.in_code):
        layers.append(LayeredFilter(Layer.LIMIT_SUBJECT, filters.by_user))
    if config.concurrency is not None:
        layers.insert(0, LayeredFilter(Layer.LIMIT_CLIENT, filters.load_shedding))
    return layers


@hookimpl
def scalekit_health(context: Context) -> Sequence[Check]:
    """Return what tells whether limits are counted for all instances; critical where nothing is let in otherwise."""
    config = context.config(RateLimitConfig)
    filters = context.shared(FILTERS, LimitFilters)

    async def probe() -> None:
        limits = filters.by_address.limits
        shared = limits.shared if limits is not None else None
        if shared is not None:
            await shared.breaker.check()

    if config.url.scheme == "memory":
        return []
    return [Check("ratelimit", probe, critical=config.on_error == "refuse")]


def _counts_apart(config: RateLimitConfig) -> bool:
    """Return whether each process counts for itself, and the file does not say that this is wanted."""
    return config.url.scheme == "memory" and not config.per_worker and bool(config.default or config.policies)


def _refuse_several_counts(config: RateLimitConfig, workers: int | None) -> None:
    if (workers or 1) > 1 and _counts_apart(config):
        message = (
            f"memory: counts in each of {workers} workers for itself, which lets through {workers} times the limit;"
            f" {SHARE}"
        )
        raise ConfigError([Problem(message, "plugins.ratelimit.url", plugin="ratelimit")])
