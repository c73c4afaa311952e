"""Cost of a call through SERVICES, compared with aiohttp alone, in one process."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any

import aiohttp
import uvloop

from scalekit import create_app
from scalekit.contracts import SERVICES
from scalekit.http.trace_context import TRACE_CONTEXT, parse_trace_context
from scalekit.testing import running
from scalekit.testing.conformance import bare_application
from tests.bench.row import Goal, Row
from tests.service import Service

CALLS_A_ROUND = 300
UNIT = "µs of CPU"

Get = Callable[[], Awaitable[Any]]


def measure(rounds: int) -> list[Row]:
    """Return the cost of a call with aiohttp alone and through SERVICES."""
    with Service() as first, Service() as second:
        return uvloop.run(_measure([first.url, second.url], rounds))


async def _measure(urls: list[str], rounds: int) -> list[Row]:
    host = create_app({"plugins": {"discovery": {"services": {"inventory": urls}}}}, app=bare_application)
    jar = aiohttp.DummyCookieJar()
    async with running(host), aiohttp.ClientSession(cookie_jar=jar) as session:
        client = host.context.get(SERVICES).client("inventory")
        TRACE_CONTEXT.set(parse_trace_context(()))  # a call on behalf of a request, which passes its identity on
        bare = f"{urls[0]}/stock/1"
        pairs = [
            (await _cpu_of(lambda: session.get(bare)), await _cpu_of(lambda: client.get("/stock/1")))
            for _ in range(rounds)
        ]
    before, after = median(one for one, _ in pairs), median(other for _, other in pairs)
    more, ratio = median(b - a for a, b in pairs), median(b / a for a, b in pairs)
    first = Row("discovery", "a call: aiohttp alone", before, UNIT)
    return [first, Row("discovery", "— through SERVICES", after, UNIT, first.title, more, ratio, Goal("more", 25))]


async def _cpu_of(get: Get) -> float:
    began = time.process_time()
    for _ in range(CALLS_A_ROUND):
        response = await get()
        await response.read()
    return (time.process_time() - began) / CALLS_A_ROUND * 1e6
