from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from time import perf_counter

import pytest

from scalekit.testing import request, running
from scalekit_ratelimit.config import RateLimitConfig
from tests.ratelimit.asking import host
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


async def test_where_redis_is_killed_under_load_each_process_counts_for_itself(server: Server) -> None:
    app = host({"url": server.url, "default": "50/1d", "deadline": "5s"})
    async with running(app) as state:
        asked = [asyncio.ensure_future(request(app, "/", state=state)) for _ in range(20)]
        await asyncio.sleep(0)
        await asyncio.to_thread(server.kill)
        assert [answer.status for answer in await asyncio.gather(*asked)] == [200] * 20
        answers = await asyncio.gather(*(request(app, "/", state=state) for _ in range(80)))
        allowed = sum(answer.status == 200 for answer in answers)
        assert 30 <= allowed <= 50, "the same limits, of which the first may have taken some"
        assert {answer.status for answer in answers} == {200, 429}

        async def shared() -> bool:
            return (await request(app, "/", state=state)).status == 200

        await asyncio.to_thread(server.start)
        await until(shared)  # what it lost with the kill begins anew


@pytest.mark.parametrize(("on_error", "status"), [("allow", 200), ("refuse", 503)])
async def test_what_happens_without_redis_is_what_the_file_says(server: Server, on_error: str, status: int) -> None:
    app = host({"url": server.url, "default": "1/1d", "on_error": on_error, "deadline": "5s"})
    async with running(app) as state:
        assert (await request(app, "/", state=state)).status == 200
        await asyncio.to_thread(server.kill)
        answers = [await request(app, "/", state=state) for _ in range(5)]
    assert [answer.status for answer in answers] == [status] * 5
    if status == 503:
        assert answers[0].header("retry-after") == "1"
        assert answers[0].header("content-type") == "application/problem+json"


async def test_a_redis_that_hangs_is_waited_for_once_and_comes_back_by_itself(server: Server) -> None:
    app = host({"url": server.url, "default": "1000/1d", "deadline": "1s", "retry": "100ms"})
    async with running(app) as state:
        assert (await request(app, "/", state=state)).status == 200
        await asyncio.to_thread(server.pause)
        began = perf_counter()
        first = await asyncio.gather(*(request(app, "/", state=state) for _ in range(30)))
        waited = perf_counter() - began
        assert {answer.status for answer in first} == {200}
        assert waited >= 0.9, "all of them have waited, together, or Redis did not hang"
        began = perf_counter()
        rest = [await request(app, "/", state=state) for _ in range(200)]
        assert {answer.status for answer in rest} == {200}
        assert perf_counter() - began < 100, "each of them waited too"
        assert "999" not in str(rest[-1].header("ratelimit")), "memory has counted them"
        await asyncio.to_thread(server.resume)

        async def counts_again() -> bool:
            before = server.cli("INFO", "commandstats").count("cmdstat_evalsha")
            calls = _calls(server)
            await request(app, "/", state=state)
            return before > 0 and _calls(server) > calls

        await until(counts_again)


async def test_by_default_one_request_waits_for_a_redis_that_hangs(server: Server) -> None:
    assert RateLimitConfig().deadline == 0.02
    app = host({"url": server.url, "default": "1000/1d", "retry": "1h"}, metrics={})
    async with running(app) as state:
        await asyncio.to_thread(server.pause)
        answers = [await request(app, "/", state=state) for _ in range(50)]
        page = (await request(app, "/metrics", state=state)).body.decode()
        await asyncio.to_thread(server.resume)
    assert {answer.status for answer in answers} == {200}
    assert 'scalekit_ratelimit_errors_total{outcome="local"} 51\n' in page, "the page of metrics is counted as well"
    late = [line for line in page.splitlines() if line.startswith("scalekit_redis_errors_total") and "late" in line]
    assert [line.rpartition(" ")[2] for line in late] == ["1"]


def _calls(server: Server) -> str:
    lines = server.cli("INFO", "commandstats").splitlines()
    return next((line.partition(",")[0] for line in lines if line.startswith("cmdstat_evalsha:")), "")
