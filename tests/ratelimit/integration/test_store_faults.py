"""Limits while their store is killed, hangs or is slow."""

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
from tests.ratelimit.client import limit_items
from tests.ratelimit.concurrent_clients import allowed
from tests.ratelimit.shared_limiters import limited_host
from tests.servers import Postgres, Redis

pytestmark = pytest.mark.anyio

Server = Redis | Postgres
STORES = [pytest.param(each, marks=pytest.mark.needs(each)) for each in ("redis", "postgres")]


@pytest.fixture(params=STORES)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with Redis() if request.param == "redis" else Postgres() as server:
        yield server


async def until(condition: Callable[[], Awaitable[bool]], limit: float = 60.0) -> None:
    async with asyncio.timeout(limit):
        while not await condition():
            await asyncio.sleep(0.02)


async def test_each_process_counts_locally_after_the_store_is_killed_under_load(server: Server) -> None:
    app = limited_host(server.url, {"default": "50/1d", "store_timeout": "5s"})
    async with running(app) as state:
        first = [asyncio.ensure_future(request(app, "/", state=state)) for _ in range(20)]
        await asyncio.sleep(0)
        await asyncio.to_thread(server.kill)
        assert [response.status for response in await asyncio.gather(*first)] == [200] * 20
        responses = await asyncio.gather(*(request(app, "/", state=state) for _ in range(80)))
        allowed = sum(response.status == 200 for response in responses)
        assert 30 <= allowed <= 50, "the counters of this process may include some of the first requests"
        assert {response.status for response in responses} == {200, 429}

        async def counts_in_store() -> bool:
            return (await request(app, "/", state=state)).status == 200

        await asyncio.to_thread(server.start)
        await until(counts_in_store)  # counters lost with the kill start again


@pytest.mark.parametrize(("on_error", "status"), [("allow", 200), ("refuse", 503)])
async def test_requests_follow_on_error_while_the_store_is_unavailable(
    server: Server, on_error: str, status: int
) -> None:
    app = limited_host(server.url, {"default": "1/1d", "on_error": on_error, "store_timeout": "5s"})
    async with running(app) as state:
        assert (await request(app, "/", state=state)).status == 200
        await asyncio.to_thread(server.kill)
        responses = [await request(app, "/", state=state) for _ in range(5)]
    assert [response.status for response in responses] == [status] * 5
    if status == 503:
        assert responses[0].header("retry-after") == "1"
        assert responses[0].header("content-type") == "application/problem+json"


async def test_a_hanging_store_opens_the_circuit_once_and_a_resumed_one_closes_it(server: Server) -> None:
    app = limited_host(server.url, {"default": "1000/1d", "store_timeout": "1s", "retry_interval": "100ms"})
    async with running(app) as state:
        assert (await request(app, "/", state=state)).status == 200
        await asyncio.to_thread(server.pause)
        began = perf_counter()
        first = await asyncio.gather(*(request(app, "/", state=state) for _ in range(30)))
        waited = perf_counter() - began
        assert {response.status for response in first} == {200}
        assert waited >= 0.9, "all requests waited together, or the store did not hang"
        began = perf_counter()
        rest = [await request(app, "/", state=state) for _ in range(200)]
        assert {response.status for response in rest} == {200}
        assert perf_counter() - began < 100, "each request waited for the store"
        assert "999" not in str(rest[-1].header("ratelimit")), "memory has counted them"
        await asyncio.to_thread(server.resume)

        async def counts_again() -> bool:
            response = await request(app, "/", state=state)
            return limit_items(response)["default"]["r"] > 900  # memory has counted 230 requests, the store at most 31

        await until(counts_again)


async def test_few_requests_wait_for_a_hanging_store_before_the_circuit_opens(server: Server) -> None:
    app = limited_host(server.url, {"default": "1000/1d", "retry_interval": "1h", "store_timeout": "100ms"}, metrics={})
    async with running(app) as state:
        await asyncio.to_thread(server.pause)
        responses = [await request(app, "/", state=state) for _ in range(50)]
        page = (await request(app, "/metrics", state=state)).body.decode()
        await asyncio.to_thread(server.resume)
    assert {response.status for response in responses} == {200}
    assert 'scalekit_ratelimit_errors_total{outcome="local"} 51\n' in page, "the request for /metrics is counted too"
    assert 1 <= timeouts_in(page) < 10


async def test_one_timeout_does_not_open_the_circuit(server: Server) -> None:
    app = limited_host(server.url, {"default": "1000/1d", "retry_interval": "1h"})
    async with running(app) as state:
        breaker = breaker_of(app)
        assert (await request(app, "/", state=state)).header("ratelimit") == '"default";r=999;t=87'
        for _ in range(3):
            breaker.record_failure(RedisUnavailable("no reply in time", "timeout"))
            while breaker._probe_needed.is_set():
                await asyncio.sleep(0)
            await breaker._shared.probe(timeout=60)  # the store replies to the probe of the breaker first
            assert breaker.error == ""
        assert (await request(app, "/", state=state)).header("ratelimit") == '"default";r=998;t=173'


async def test_limits_stay_exact_while_the_store_is_slow(server: Server) -> None:
    app = limited_host(server.url, {"default": "20/1d"}, metrics={})
    async with running(app) as state:
        await request(app, "/", state=state)
        await asyncio.to_thread(server.pause)
        requests = [asyncio.ensure_future(request(app, "/", state=state)) for _ in range(60)]
        done, _ = await asyncio.wait(requests, timeout=0.5)
        assert not done
        await asyncio.to_thread(server.resume)
        responses = await asyncio.gather(*requests)
        page = (await request(app, "/metrics", state=state, client=("10.0.0.1", 1))).body.decode()
    assert sum(response.status == 200 for response in responses) == 19
    assert timeouts_in(page) == 0


async def test_a_client_that_the_store_refused_is_refused_during_a_timeout_too(server: Server) -> None:
    policies = [
        {"name": "one", "limit": "3/1d", "path": "/one"},
        {"name": "several", "limit": ["3/1d", "1000/h"], "path": "/several"},
    ]
    app = limited_host(server.url, {"policies": policies, "store_timeout": "100ms", "retry_interval": "1h"}, metrics={})
    async with running(app) as state:
        for path in ("/one", "/several"):
            assert [(await request(app, path, state=state)).status for _ in range(5)] == [200] * 3 + [429] * 2
        await asyncio.to_thread(server.pause)
        for path in ("/one", "/several"):
            refused = await asyncio.gather(*(request(app, path, state=state) for _ in range(10)))
            assert {response.status for response in refused} == {429}
        page = (await request(app, "/metrics", state=state)).body.decode()
        await asyncio.to_thread(server.resume)
    assert timeouts_in(page) > 0, "a decision without the store is counted"


@pytest.mark.needs("redis")
def test_limits_stay_exact_over_eight_processes_while_the_machine_is_overloaded() -> None:
    with ExitStack() as stack, Redis() as server:
        for _ in range(3):
            stack.enter_context(busy())
        assert allowed(8, server.url, "app", "200/1d", 60) == 200


def breaker_of(app: Host) -> CircuitBreaker:
    """Return the circuit breaker of *app*."""
    limiter = app.context.get(FILTERS).before_authentication.limiter
    assert limiter is not None
    assert limiter.shared is not None
    return limiter.shared.circuit_breaker


@contextmanager
def busy() -> Iterator[None]:
    """Keep one CPU busy in the block."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()


def timeouts_in(page: str) -> int:
    """Return the number of requests in *page* that were decided without a reply of the store."""
    found = [line for line in page.splitlines() if line.startswith("scalekit_ratelimit_store_timeouts_total")]
    return int(found[0].rpartition(" ")[2]) if found else 0
