"""``make bench``: one table, both sides of every comparison in one run."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench import calls, imports, overload, preload, reads, requests, scrape, throughput, workers
from tests.bench import propagation_delay as propagation_delay
from tests.bench import startup as startup
from tests.bench.inprocess import Case
from tests.bench.operations import broadcast, database, orm, queue, redis, tokens
from tests.bench.row import HEAD, Row, write
from tests.production import NEEDED
from tests.servers import missing

UNDER_WRK = {"starlette_bare", "scalekit_empty", "both_on"}
UNDER_WRK |= {"fastapi_bare", "fastapi_observed", "litestar_bare", "litestar_observed"}
STACKS_UNDER_WRK = {"starlette_bare", "stack_memory_cached", "stack_redis_near", "stack_redis_cached"}
STACKS_UNDER_WRK |= {"fastapi_full", "litestar_full"}


@dataclass(frozen=True, slots=True)
class Options:
    """How long to measure: *rounds* of about so many *seconds* each, in process."""

    rounds: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Part:
    """A separate benchmark: its *plugins*, and the servers and tools that it *needs*."""

    plugins: Sequence[str]
    needs: Sequence[str]
    measure: Callable[[Options], list[Row]]


def _cases(modules: set[str]) -> list[Case]:
    return [case for case in requests.CASES if case.module in modules]


PARTS = [
    Part([""], [], lambda options: startup.measure(options.rounds // 2)),
    Part([""], [], lambda options: imports.measure(options.rounds // 4)),
    Part([""], ["wrk"], lambda _: throughput.measure(_cases(UNDER_WRK), 3, 3)),
    Part(["stack"], ["wrk", "redis"], lambda _: throughput.measure(_cases(STACKS_UNDER_WRK), 5, 3)),
    Part(["stack"], ["wrk", "redis"], lambda _: workers.measure(5, 3)),
    Part(["stack"], ["redis"], lambda options: startup.measure_stacks(options.rounds // 4)),
    Part(["stack"], NEEDED, lambda options: startup.measure_production(options.rounds // 4)),
    Part(["stack"], NEEDED, lambda options: preload.measure(max(1, options.rounds // 8))),
    Part(["metrics"], [], lambda options: scrape.measure(options.rounds)),
    Part(["pool"], ["postgres"], lambda options: database.measure(options.rounds // 2)),
    Part(["pool"], ["postgres"], lambda options: orm.measure(options.rounds // 2)),
    Part(["replica"], ["postgres"], lambda options: reads.measure(options.rounds)),
    Part(["jwt"], [], lambda options: tokens.measure(options.rounds // 2)),
    Part(["discovery"], [], lambda options: calls.measure(options.rounds)),
    Part(["broadcast"], ["redis"], lambda options: broadcast.measure(options.rounds)),
    Part(["queue"], ["rabbitmq", "postgres"], lambda options: queue.measure(max(1, options.rounds // 8))),
    Part(["ratelimit"], ["k6"], lambda _: overload.measure(3, 5)),
    Part(["cache"], ["redis", "wrk"], lambda options: propagation_delay.measure(options.rounds * 3)),
    Part(
        ["cluster-cache"], ["redis"], lambda options: propagation_delay.measure_failover(max(1, options.rounds // 10))
    ),
    Part(["", "cache", "cluster-cache"], ["redis"], lambda options: redis.measure(options.rounds // 2)),
]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=0.1, help="of each round, in process")
    parser.add_argument("--plugin", default="", help="run the benchmarks of one plugin")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    arguments = parser.parse_args()
    rows = _show(requests.measure(arguments.plugin, arguments.rounds, arguments.seconds), HEAD)
    for part in PARTS:
        if arguments.plugin in ("", *part.plugins):
            rows += _part(part, Options(arguments.rounds, arguments.seconds))
    if arguments.json:
        write(rows, arguments.json)


def _part(part: Part, options: Options) -> list[Row]:
    if absent := [name for name in part.needs if missing(name)]:
        print(f"| {part.plugins[0]} | not measured: {', '.join(absent)} is not installed | | | | | | | |")
        return []
    return _show(part.measure(options))


def _show(rows: list[Row], head: str = "") -> list[Row]:
    for line in filter(None, [head, *(row.markdown() for row in rows)]):
        print(line, flush=True)
    return rows


if __name__ == "__main__":
    main()
