"""``make bench``: one table, both sides of every comparison in one run."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.bench import calls, inprocess, reads, scrape, starting, throughput
from tests.bench.inprocess import Case, Measured
from tests.bench.operations import database, redis
from tests.servers import missing

CASES = [
    Case("starlette_bare", "Starlette"),
    Case("scalekit_empty", "ScaleKit, no plugins", goal="at most 2 more"),
    Case("scalekit_guarded", "ScaleKit, hosts and trusted proxies"),
    Case("scalekit_health", "ScaleKit, /health/ready while a dependency hangs", goal="under 1000"),
    Case("metrics_on", "ScaleKit, metrics", over="scalekit_empty", goal="at most 2 more"),
    Case("logging_on", "ScaleKit, access log to a file", over="scalekit_empty", goal="at most 4 more"),
    Case("both_on", "ScaleKit, metrics and access log", over="scalekit_empty"),
    Case("cache_hit", "ScaleKit, an answer from the cache", goal="6 in all"),
    Case("cache_none", "ScaleKit, no plugins, another question each time"),
    Case("cache_miss", "ScaleKit, an answer that the cache keeps", over="cache_none", goal="at most 15 more"),
    Case("cache_pass", "ScaleKit, an answer that the cache must not keep", over="scalekit_empty"),
    Case("fastapi_bare", "FastAPI", peer="fastapi"),
    Case("fastapi_observed", "FastAPI, metrics, request id and access log", peer="fastapi", over="fastapi_bare"),
    Case("litestar_bare", "Litestar", peer="litestar"),
    Case("litestar_observed", "Litestar, metrics, request id and access log", peer="litestar", over="litestar_bare"),
]
OBSERVED = "both_on"
"""What the observed peers are held against: each may cost so many times as much."""
GOAL_START = 150.0
UNDER_WRK = {"starlette_bare", "scalekit_empty", "both_on"}
UNDER_WRK |= {"fastapi_bare", "fastapi_observed", "litestar_bare", "litestar_observed"}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=0.1, help="of each round, in process")
    parser.add_argument("--only", choices=("requests", "database", "reads", "redis", "calls"), help="measure one part")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    figures: dict[str, Any] = {}
    if options.only in (None, "requests"):
        figures |= _all_of_requests(options.rounds, options.seconds)
    if options.only in (None, "database"):
        figures["µs of databases"] = database.measure(options.rounds // 2)
    if options.only in (None, "reads"):
        figures["µs of CPU per read"] = _reads(options.rounds)
    if options.only in (None, "redis"):
        figures["µs of Redis"] = redis.measure(options.rounds // 2)
    if options.only in (None, "calls"):
        figures["µs of CPU per call"] = _calls(options.rounds)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))


def _all_of_requests(rounds: int, seconds: float) -> dict[str, Any]:
    figures: dict[str, Any] = {"µs of CPU per request": _requests(rounds, seconds)}
    figures["ms of CPU to start and stop"] = _starting(rounds // 2)
    if missing("wrk"):
        print("\nwrk is not installed: no requests per second")
    else:
        figures["requests per second"] = _throughput()
    return {**figures, "ms to read the metrics of four workers": _scrape(rounds)}


def _requests(rounds: int, seconds: float) -> dict[str, float]:
    measured = {each.case.module: each for each in inprocess.measure(CASES, rounds, seconds)}
    print("| in process, 32 at once | µs of CPU per request | over | more | ratio | goal |")
    print("|---|---|---|---|---|---|")
    for each in measured.values():
        base = measured[each.case.over]
        more, ratio = each.more_than(base), each.ratio_to(base)
        goal = each.case.goal or _times_ours(each, base, measured)
        over = base.case.title
        print(f"| {each.case.title} | {each.microseconds:.1f} | {over} | {more:+.1f} | {ratio:.2f} | {goal} |")
    return {each.case.title: each.microseconds for each in measured.values()}


def _times_ours(each: Measured, base: Measured, measured: Mapping[str, Measured]) -> str:
    """Return how many times the overhead of ScaleKit that of an observed peer is."""
    if not each.case.module.endswith("_observed"):
        return ""
    ours = measured[OBSERVED]
    times = each.more_than(base) / ours.more_than(measured[ours.case.over])
    return f"{times:.1f} times ScaleKit's; at least 10"


def _starting(rounds: int) -> dict[str, float]:
    taken = starting.measure(rounds)
    bare = next(iter(taken.values()))
    print("\n| import, start and stop | ms of CPU | over Starlette | goal |")
    print("|---|---|---|---|")
    for title, milliseconds in taken.items():
        goal = f"at most {GOAL_START:g} more" if milliseconds is not bare else ""
        print(f"| {title} | {milliseconds:.0f} | {milliseconds - bare:+.0f} | {goal} |")
    return taken


def _throughput() -> dict[str, float]:
    cases = [case for case in CASES if case.module in UNDER_WRK]
    rates = throughput.measure(cases, rounds=3, seconds=3)
    bare = next(iter(rates.values()))
    print("\n| wrk, 64 connections, 1 process | requests per second | ratio |")
    print("|---|---|---|")
    for title, rate in rates.items():
        print(f"| {title} | {rate:.0f} | {rate / bare:.2f} |")
    return rates


def _reads(rounds: int) -> dict[str, float]:
    if missing("postgres"):
        print("\nPostgreSQL is not installed: no reads")
        return {}
    taken = reads.measure(rounds)
    print("\n| a row of PostgreSQL, two replicas | µs of CPU per read | goal |")
    print("|---|---|---|")
    for title, microseconds in taken.items():
        print(f"| {title} | {microseconds:.1f} | {'at most 15' if title == 'more' else ''} |")
    return taken


def _calls(rounds: int) -> dict[str, float]:
    taken = calls.measure(rounds)
    print("\n| a call of another service, two instances | µs of CPU per call | goal |")
    print("|---|---|---|")
    for title, microseconds in taken.items():
        print(f"| {title} | {microseconds:.1f} | {f'at most {calls.AT_MOST:g}' if title == 'more' else ''} |")
    return taken


def _scrape(rounds: int) -> dict[str, float]:
    taken = scrape.measure(rounds)
    print(f"\n| {scrape.WORKERS} workers, {scrape.SERIES} histograms each | ms | goal |")
    print("|---|---|---|")
    for title, milliseconds in taken.items():
        print(f"| {title} | {milliseconds:.1f} | {'under 20' if 'read' in title else ''} |")
    return taken


if __name__ == "__main__":
    main()
