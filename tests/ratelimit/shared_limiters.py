"""Limiters on real servers, each identified by the URL of its server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from starlette.types import ASGIApp

from scalekit import create_app
from scalekit.contracts import DATABASE
from scalekit.host import Host
from scalekit.telemetry import NullTelemetry
from scalekit.testing import running
from scalekit.testing.conformance import bare_application
from scalekit_ratelimit.database_limiter import DatabaseLimiter
from scalekit_ratelimit.limit_checks import SingleLimit
from scalekit_ratelimit.limits import Hit, LimitState
from scalekit_ratelimit.redis_limiter import RedisLimiter
from scalekit_ratelimit.shared_limiter import PendingHits, SharedLimiter
from scalekit_redis import Connections
from tests.ratelimit.client import host

TIMEOUT = 30.0


@asynccontextmanager
async def open_shared(url: str) -> AsyncGenerator[SharedLimiter, None]:
    """Yield a limiter that counts at *url*."""
    if url.startswith("redis"):
        async with Connections(NullTelemetry()).open(url, timeout=TIMEOUT) as redis:
            yield RedisLimiter(redis, "cluster" in url)
        return
    app = create_app({"plugins": {"pool": {"url": url}}}, app=bare_application)
    async with running(app):
        limiter = DatabaseLimiter(app.context.get(DATABASE), TIMEOUT)
        async with limiter.batcher.running():
            yield limiter


def limited_host(
    url: str,
    table: Mapping[str, Any],
    app: ASGIApp = bare_application,
    pool: Mapping[str, Any] | None = None,
    **plugins: Any,
) -> Host:
    """Return *app* with the limits of *table*, counted at *url*; *pool* has further keys of the database."""
    if url.startswith("redis"):
        return host({"url": url, **table}, app, **plugins)
    tables = {"pool": {"url": url, "acquire_timeout": "1s", **(pool or {})}, **plugins}
    return host({"url": "database:", **table}, app, **tables)


async def states_of(limiter: SharedLimiter, hits: Sequence[Hit]) -> dict[Hit, LimitState]:
    """Count *hits* and return the state after each."""
    pending = PendingHits(hits)
    limiter.send_hits(pending)
    return await read_states(limiter, pending)


async def read_states(limiter: SharedLimiter, pending: PendingHits) -> dict[Hit, LimitState]:
    """Return the state after each of *pending* once the store has replied."""
    await asyncio.wait([reply for _, reply in pending.replies])
    return dict(limiter.read_replies(pending))


async def slack_of(limiter: SharedLimiter, limit: SingleLimit, key: str) -> int:
    """Count a hit on *limit* and return the slack."""
    reply = limiter.send_gcra(limit, key)
    await asyncio.wait([reply])
    return limiter.read_gcra(limit, reply)
