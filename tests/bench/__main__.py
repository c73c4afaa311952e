"""``make bench``: one table, both sides of every comparison in one run."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from tests.bench import inprocess, starting, throughput
from tests.bench.inprocess import Case
from tests.servers import missing

CASES = [
    Case("starlette_bare", "Starlette"),
    Case("scalekit_empty", "ScaleKit, no plugins, over Starlette"),
    Case("scalekit_guarded", "ScaleKit, hosts and trusted proxies, over Starlette"),
    Case("scalekit_health", "ScaleKit, /health/ready while a dependency hangs"),
    Case("fastapi_bare", "FastAPI", peer="fastapi"),
    Case("litestar_bare", "Litestar", peer="litestar"),
]
GOALS = {"scalekit_empty": "at most 2 more", "scalekit_health": "under 1000"}
GOAL_START = 150.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=0.1, help="of each round, in process")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    figures: dict[str, Any] = {"µs of CPU per request": _requests(options.rounds, options.seconds)}
    figures["ms of CPU to start and stop"] = _starting(options.rounds // 2)
    if missing("wrk"):
        print("\nwrk is not installed: no requests per second")
    else:
        figures["requests per second"] = _throughput()
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))


def _requests(rounds: int, seconds: float) -> dict[str, float]:
    measured = inprocess.measure(CASES, rounds, seconds)
    bare = measured[0]
    print("| in process, 32 at once | µs of CPU per request | over Starlette | ratio | goal |")
    print("|---|---|---|---|---|")
    for each in measured:
        goal = GOALS.get(each.case.module, "")
        more, ratio = each.more_than(bare), each.ratio_to(bare)
        print(f"| {each.case.title} | {each.microseconds:.1f} | {more:+.1f} | {ratio:.2f} | {goal} |")
    return {each.case.title: each.microseconds for each in measured}


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
    cases = [case for case in CASES if case.module in ("starlette_bare", "scalekit_empty") or case.peer]
    rates = throughput.measure(cases, rounds=3, seconds=3)
    bare = next(iter(rates.values()))
    print("\n| wrk, 64 connections, 1 process | requests per second | ratio |")
    print("|---|---|---|")
    for title, rate in rates.items():
        print(f"| {title} | {rate:.0f} | {rate / bare:.2f} |")
    return rates


if __name__ == "__main__":
    main()
