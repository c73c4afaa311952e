"""Goodput and latency of a service under twice its sustainable load, without and with adaptive concurrency.

The load is open: k6 begins so many requests a second, whatever becomes of the others, and each gives up after a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

from tests.bench.row import Goal, Row
from tests.service import Service
from tests.tools import k6

SCRIPT = Path(__file__).parent.parent.parent / "k6" / "overload.js"
AT_ONCE = 10
TAKES = (0.025, 0.075)
"""Seconds for which a request has the resource: anything between, at random."""
SUSTAINABLE = AT_ONCE / mean(TAKES)
"""Requests a second that the resource can serve."""
LIMIT = "[plugins.ratelimit.concurrency]\n"
BOUNDED = f"""\
import asyncio
import random

RESOURCE = asyncio.Semaphore({AT_ONCE})


async def app(scope, receive, send):
    async with RESOURCE:
        await asyncio.sleep(random.uniform{TAKES})
    await send({{"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]}})
    await send({{"type": "http.response.body", "body": b""}})
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """Answers a second that were accepted in time, and the milliseconds in which 99 of 100 of those came."""

    accepted: float
    p99: float


def measure(rounds: int, seconds: int) -> list[Row]:
    """Return goodput over the sustainable rate, and p99 over p99 without overload: medians of interleaved rounds."""
    kinds = [("", SUSTAINABLE * 0.3), ("", SUSTAINABLE * 2), (LIMIT, SUSTAINABLE * 2)]
    found = [[offered(tables, rate, seconds) for tables, rate in kinds] for _ in range(rounds)]
    unloaded, without, limited = (_median(each) for each in zip(*found, strict=True))
    return [
        _goodput("without a limit", without),
        _goodput("with one", limited, Goal("ratio", 0.9, "at least")),
        _latency("with one", limited, unloaded, Goal("ratio", 2)),
    ]


def offered(tables: str, rate: float, seconds: int) -> Seen:
    """Return the goodput and latency of a service with *tables* at *rate* requests per second."""
    with Service(tables, {"service": BOUNDED}) as service:
        result = k6(SCRIPT, BASE_URL=service.url, RATE=round(rate), SECONDS=seconds)
    if not result.passed:
        raise RuntimeError(f"k6 ended with {result.status}: {result.report}")
    accepted = result.metrics.get("accepted", {"count": 0, "p(99)": 0.0})
    return Seen(accepted["count"] / seconds, accepted["p(99)"])


def _median(seen: Sequence[Seen]) -> Seen:
    return Seen(median(each.accepted for each in seen), median(each.p99 for each in seen))


def _goodput(how: str, seen: Seen, goal: Goal | None = None) -> Row:
    title, over = f"goodput at twice the sustainable load, {how}", "sustainable"
    more = seen.accepted - SUSTAINABLE
    return Row("ratelimit", title, seen.accepted, "requests/s", over, more, seen.accepted / SUSTAINABLE, goal)


def _latency(how: str, seen: Seen, unloaded: Seen, goal: Goal | None = None) -> Row:
    title, over = f"p99 at twice the sustainable load, {how}", "without load"
    return Row("ratelimit", title, seen.p99, "ms", over, seen.p99 - unloaded.p99, seen.p99 / unloaded.p99, goal)
