"""What it costs to call a service through SERVICES, beside calling it with aiohttp alone, in one process."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any

import aiohttp
import uvloop

from scalekit import create_app
from scalekit.contracts import SERVICES
from scalekit.identity import CURRENT, identify
from scalekit.testing import running
from scalekit.testing.conformance import bare_application
from tests.service import Service

CALLS_A_ROUND = 300
AT_MOST = 25.0

Get = Callable[[], Awaitable[Any]]


def measure(rounds: int) -> dict[str, float]:
    """Return µs of CPU per call: aiohttp alone, through SERVICES, and the median of the differences round by round."""
    with Service() as first, Service() as second:
        return uvloop.run(_measure([first.url, second.url], rounds))


async def _measure(urls: list[str], rounds: int) -> dict[str, float]:
    host = create_app({"plugins": {"discovery": {"services": {"inventory": urls}}}}, app=bare_application)
    jar = aiohttp.DummyCookieJar()
    async with running(host), aiohttp.ClientSession(cookie_jar=jar) as session:
        client = host.context.get(SERVICES).client("inventory")
        CURRENT.set(identify(()))  # a call on behalf of a request, which passes its identity on
        bare = f"{urls[0]}/stock/1"
        pairs = [
            (await _cpu_of(lambda: session.get(bare)), await _cpu_of(lambda: client.get("/stock/1")))
            for _ in range(rounds)
        ]
    return {
        "aiohttp alone": median(before for before, _ in pairs),
        "through SERVICES": median(after for _, after in pairs),
        "more": median(after - before for before, after in pairs),
    }


async def _cpu_of(get: Get) -> float:
    began = time.process_time()
    for _ in range(CALLS_A_ROUND):
        response = await get()
        await response.read()
    return (time.process_time() - began) / CALLS_A_ROUND * 1e6
