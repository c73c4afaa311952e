"""Duration of a scrape of ``/metrics`` of four workers, and the delay of a concurrent request."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median

from tests.bench.row import Goal, Row
from tests.servers import ask
from tests.workers import supervised

WORKERS = 4
SERIES = 500
APPLICATION = f"""
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from scalekit.telemetry import Histogram

SECONDS = Histogram("seconds", "Seconds.", ("kind",))

async def fill(request):
    for number in range({SERIES}):
        SECONDS(request, str(number)).observe(number / 100)
    return PlainTextResponse(str(__import__("os").getpid()))

async def ping(request):
    return PlainTextResponse("pong")

app = Starlette(routes=[Route("/fill", fill), Route("/ping", ping)])
"""


def measure(rounds: int) -> list[Row]:
    """Return milliseconds: the median time of a scrape, and the 99th percentile of pings alone and during scrapes."""
    with supervised(WORKERS, "[plugins.metrics]", APPLICATION) as service:
        filled: list[str] = []
        while len(set(filled)) < WORKERS:
            filled.append(service.get("/fill"))
        page = service.get("/metrics")
        if page.count('seconds_count{kind="') != SERIES or f'seconds_count{{kind="0"}} {len(filled)}\n' not in page:
            raise RuntimeError("not every worker's series are on the page")
        alone = _pings(service.port, rounds * 10)
        with ThreadPoolExecutor(1) as pool:
            pinging = pool.submit(_pings, service.port, rounds * 10)
            scrapes = [_milliseconds(service.port, "/metrics") for _ in range(rounds)]
            during = pinging.result()
    title = f"read /metrics of {WORKERS} workers, {SERIES} histograms each"
    ping = Row("metrics", "99th of 100 requests on the wall, alone", alone, "ms")
    return [
        Row("metrics", title, median(scrapes), "ms", goal=Goal("figure", 20)),
        ping,
        Row("metrics", "— while /metrics is read", during, "ms", ping.title, during - alone, during / alone),
    ]


def _pings(port: int, number: int) -> float:
    return sorted(_milliseconds(port, "/ping") for _ in range(number))[int(number * 0.99)]


def _milliseconds(port: int, path: str) -> float:
    started = time.perf_counter()
    ask(port, "GET", path)
    return (time.perf_counter() - started) * 1e3
