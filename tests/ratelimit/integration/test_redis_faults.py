"""Limits while Redis is killed, hangs or is slow."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from time import perf_counter

import pytest

from scalekit.host import Host
from scalekit.testing import request, running
from scalekit_ratelimit.circuit_breaker import CircuitBreaker
from scalekit_ratelimit.plugin import FILTERS
from scalekit_redis import RedisUnavailable
from tests.ratelimit.client import host
from tests.ratelimit.concurrent_clients import allowed
from tests.servers import Redis as Server

pytestmark = [pytest.mark.anyio, pytest.mark.needs("redis")]


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


async def until(condition: Callable[[], Awaitable[bool]], limit: float = 60.0) -> None:
    async with asyncio.timeout(limit):
        while not await condition():
            await asyncio.sleep(0.02)


async def test_each_process_counts_locally_after_redis_is_killed_under_load(server: Server) -> None:
    app = host({"url": server.url, "default": "50/1d", "redis_timeout": "5s"})
    async with running(app) as state:
        first = [asyncio.ensure_future(request(app, "/", state=state)) for _ in range(20)]
        await asyncio.sleep(0)
        await asyncio.to_thread(server.kill)
        assert [response.status for response in await asyncio.gather(*first)] == [200] * 20
        responses = await asyncio.gather(*(request(app, "/", state=state) for _ in range(80)))
        allowed = sum(response.status == 200 for response in responses)
        assert 30 <= allowed <= 50, "the counters of this process may include some of the first requests"
        assert {response.status for response in responses} == {200, 429}

        async def counts_in_redis() -> bool:
            return (await request(app, "/", state=state)).status == 200

        await asyncio.to_thread(server.start)
        await until(counts_in_redis)  # counters lost with the kill start again


@pytest.mark.parametrize(("on_error", "status"), [("allow", 200), ("refuse", 503)])
async def test_requests_follow_on_error_while_redis_is_unavailable(server: Server, on_error: str, status: int) -> None:
    app = host({"url": server.url, "default": "1/1d", "on_error": on_error, "redis_timeout": "5s"})
    async with running(app) as state:
        assert (await request(app, "/", state=state)).status == 200
        await asyncio.to_thread(server.kill)
        responses = [await request(app, "/", state=state) for _ in range(5)]
    assert [response.status for response in responses] == [status] * 5
    if status == 503:
        assert responses[0].header("retry-after") == "1"
        assert responses[0].header("content-type") == "application/problem+json"


async def test_a_hanging_redis_opens_the_circuit_once_and_a_resumed_one_closes_it(server: Server) -> None:
    app = host({"url": server.url, "default": "1000/1d", "redis_timeout": "1s", "retry_interval": "100ms"})
    async with running(app) as state:
        assert (await request(app, "/", state=state)).status == 200
        await asyncio.to_thread(server.pause)
        began = perf_counter()
        first = await asyncio.gather(*(request(app, "/", state=state) for _ in range(30)))
        waited = perf_counter() - began
        assert {response.status for response in first} == {200}
        assert waited >= 0.9, "all requests waited together, or Redis did not hang"
        began = perf_counter()
        rest = [await request(app, "/", state=state) for _ in range(200)]
        assert {response.status for response in rest} == {200}
        assert perf_counter() - began < 100, "each request waited for Redis"
        assert "999" not in str(rest[-1].header("ratelimit")), "memory has counted them"
        await asyncio.to_thread(server.resume)

        async def counts_again() -> bool:
            before = server.cli("INFO", "commandstats").count("cmdstat_evalsha")
            calls = _calls(server)
            await request(app, "/", state=state)
            return before > 0 and _calls(server) > calls

        await until(counts_again)


async def test_few_requests_wait_for_a_hanging_redis_before_the_circuit_opens(server: Server) -> None:
    app = host({"url": server.url, "default": "1000/1d", "retry_interval": "1h", "redis_timeout": "100ms"}, metrics={})
    async with running(app) as state:
        await asyncio.to_thread(server.pause)
        responses = [await request(app, "/", state=state) for _ in range(50)]
        page = (await request(app, "/metrics", state=state)).body.decode()
        await asyncio.to_thread(server.resume)
    assert {response.status for response in responses} == {200}
    assert 'scalekit_ratelimit_errors_total{outcome="local"} 51\n' in page, "the request for /metrics is counted too"
    assert 1 <= timeouts_in(page) < 10


async def test_one_timeout_does_not_open_the_circuit(server: Server) -> None:
    app = host({"url": server.url, "default": "1000/1d", "retry_interval": "1h"})
    async with running(app) as state:
        breaker = breaker_of(app)
        assert (await request(app, "/", state=state)).header("ratelimit") == '"default";r=999;t=87'
        for _ in range(3):
            breaker.record_failure(RedisUnavailable("no reply in time", "timeout"))
            while breaker._probe_needed.is_set():
                await asyncio.sleep(0)
            await breaker._redis.probe(timeout=60)  # Redis replies to the probe of the breaker first
            assert breaker.error == ""
        assert (await request(app, "/", state=state)).header("ratelimit") == '"default";r=998;t=173'


async def test_limits_stay_exact_while_redis_is_slow_for_a_second(server: Server) -> None:
    app = host({"url": server.url, "default": "20/1d"}, metrics={})
    async with running(app) as state:
        await request(app, "/", state=state)
        server.cli("CLIENT", "PAUSE", "1000", "ALL")
        responses = await asyncio.gather(*(request(app, "/", state=state) for _ in range(60)))
        page = (await request(app, "/metrics", state=state, client=("10.0.0.1", 1))).body.decode()
    assert sum(response.status == 200 for response in responses) == 19
    assert timeouts_in(page) == 0


async def test_a_client_that_redis_refused_is_refused_during_a_timeout_too(server: Server) -> None:
    policies = [
        {"name": "one", "limit": "3/1d", "path": "/one"},
        {"name": "several", "limit": ["3/1d", "1000/h"], "path": "/several"},
    ]
    app = host({"url": server.url, "policies": policies, "redis_timeout": "100ms", "retry_interval": "1h"}, metrics={})
    async with running(app) as state:
        for path in ("/one", "/several"):
            assert [(await request(app, path, state=state)).status for _ in range(5)] == [200] * 3 + [429] * 2
        await asyncio.to_thread(server.pause)
        for path in ("/one", "/several"):
            refused = await asyncio.gather(*(request(app, path, state=state) for _ in range(10)))
            assert {response.status for response in refused} == {429}
        page = (await request(app, "/metrics", state=state)).body.decode()
        await asyncio.to_thread(server.resume)
    assert timeouts_in(page) > 0, "a decision without Redis is counted"


def test_limits_stay_exact_over_eight_processes_while_the_machine_is_overloaded(server: Server) -> None:
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(busy())
        assert allowed(8, server.url, "app", "200/1d", 60) == 200


def breaker_of(app: Host) -> CircuitBreaker:
    """Return the circuit breaker of *app*."""
    limiter = app.context.get(FILTERS).before_authentication.limiter
    assert limiter is not None
    assert limiter.redis is not None
    return limiter.redis.circuit_breaker


@contextmanager
def busy() -> Iterator[None]:
    """Keep one CPU busy in the block."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()


def timeouts_in(page: str) -> int:
    """Return the number of requests in *page* that were decided without a reply of Redis."""
    found = [line for line in page.splitlines() if line.startswith("scalekit_ratelimit_redis_timeouts_total")]
    return int(found[0].rpartition(" ")[2]) if found else 0


def _calls(server: Server) -> str:
    lines = server.cli("INFO", "commandstats").splitlines()
    return next((line.partition(",")[0] for line in lines if line.startswith("cmdstat_evalsha:")), "")
