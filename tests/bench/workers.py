"""CPU time per request of two workers, compared with one; wrk shares their cores."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.bench.inprocess import Case
from tests.bench.row import Goal, Row
from tests.bench.served import Served
from tests.processes import family
from tests.servers import Redis

CASE = Case("stack_redis_cached", "all on Redis, cached", "stack", needs="redis")
COUNTS = (1, 2)
SHARED = 'plugins.pool.url="sqlite:sessions.db"'
"""Workers share the sessions of tokens in a database."""
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Seen:
    """Microseconds of CPU of a request, and requests per second."""

    cpu: float
    rate: float


def measure(rounds: int, seconds: int) -> list[Row]:
    """Return both figures for one worker and two: these are 1.8 times as fast if a request costs 1/0.9 as much."""
    found: dict[int, list[Seen]] = {count: [] for count in COUNTS}
    with Redis() as redis, ExitStack() as stack:
        served = {
            count: stack.enter_context(Served(CASE, redis.url, (f"server.workers={count}", SHARED))) for count in COUNTS
        }
        for _ in range(rounds):
            for count, server in served.items():
                found[count].append(_load(server, seconds))
    return list(_rows(found))


def _load(server: Served, seconds: int) -> Seen:
    before = _cpu(server.process.pid)
    result = server.load(seconds)
    return Seen((_cpu(server.process.pid) - before) / result.requests * 1e6, result.requests_per_second)


def _cpu(pid: int) -> float:
    """Return the seconds of CPU that a process and its descendants have taken."""
    fields = [Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split() for each in family(pid)]
    return sum(int(each[11]) + int(each[12]) for each in fields) / TICKS


def _rows(found: dict[int, list[Seen]]) -> Iterator[Row]:
    cpus = {count: median(each.cpu for each in seen) for count, seen in found.items()}
    rates = {count: median(each.rate for each in seen) for count, seen in found.items()}
    one, two = (f"wrk, {count} worker{'s'[: count - 1]}: {CASE.title}" for count in COUNTS)
    more = cpus[2] - cpus[1], rates[2] - rates[1]
    yield Row("stack", one, cpus[1], "µs of CPU")
    yield Row("stack", two, cpus[2], "µs of CPU", one, more[0], cpus[2] / cpus[1], Goal("ratio", 1 / 0.9))
    yield Row("stack", one, rates[1], "requests/s")
    yield Row("stack", two, rates[2], "requests/s", one, more[1], rates[2] / rates[1])
