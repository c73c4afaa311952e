"""Take from a limit on Redis as fast as can be, in several processes, which share what they import.

Each says when it is ready, waits for a byte, and prints how often it was allowed.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
from collections.abc import Sequence

from scalekit import Rate
from scalekit.telemetry import NullTelemetry
from scalekit.testing import request, running
from scalekit_ratelimit.gcra import LimitState, rule
from scalekit_ratelimit.memory_limiter import Hit
from scalekit_ratelimit.redis_limiter import PendingHits, RedisLimiter
from scalekit_redis import Connections
from tests.ratelimit.client import host


async def race(url: str, algorithm: str, limit: str, number: int) -> int:
    """Return how many of *number* takes, many at once, were allowed."""
    this = rule("race", Rate(limit), None, "gcra" if algorithm == "gcra" else "sliding-window")
    async with Connections(NullTelemetry()).open(url, timeout=30.0) as redis:
        limits = RedisLimiter(redis, "cluster" in url)
        os.write(1, b"ready\n")  # at once: several write to the pipe
        await asyncio.to_thread(os.read, 0, 1)
        asked = [PendingHits([Hit(this, "everybody", 1, False)]) for _ in range(number)]
        for takes in asked:
            limits.send(takes)
        counts = [await replied(limits, takes) for takes in asked]
    return sum(count.allowed for each in counts for count in each.values())


async def serve(url: str, limit: str, number: int) -> int:
    """Return how many of *number* requests an application with the default deadline let in."""
    app = host({"url": url, "default": limit})
    async with running(app) as state:
        os.write(1, b"ready\n")  # at once: several write to the pipe
        await asyncio.to_thread(os.read, 0, 1)
        answers = await asyncio.gather(*(request(app, "/", state=state) for _ in range(number)))
    return sum(answer.status == 200 for answer in answers)


async def counts_of(limits: RedisLimiter, takes: Sequence[Hit]) -> dict[Hit, LimitState]:
    """Take on Redis, and return how each of *takes* stands."""
    asked = PendingHits(takes)
    limits.send(asked)
    return await replied(limits, asked)


async def replied(limits: RedisLimiter, asked: PendingHits) -> dict[Hit, LimitState]:
    """Return how what was *asked* stands once Redis has replied."""
    while True:
        await asyncio.wait([reply for _, reply in asked.parts])
        counts = limits.receive(asked)
        if not isinstance(counts, asyncio.Future):
            return dict(counts)


def allowed(processes: int, url: str, kind: str, limit: str, number: int) -> int:
    """Let *processes* take *number* times each, all at once; return how many of that were allowed."""
    command = [
        sys.executable,
        "-m",
        "tests.ratelimit.concurrent_clients",
        str(processes),
        url,
        kind,
        limit,
        str(number),
    ]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, process_group=0) as racers:
        try:
            assert racers.stdout is not None
            for _ in range(processes):
                assert racers.stdout.readline() == "ready\n"
            output, _ = racers.communicate("g" * processes, timeout=120)
        except BaseException:
            os.killpg(racers.pid, signal.SIGKILL)
            raise
    assert racers.returncode == 0
    counts = output.split()
    assert len(counts) == processes
    return sum(map(int, counts))


def main(processes: int, url: str, kind: str, limit: str, number: int) -> None:
    """Fork, take, and wait for all."""
    gc.freeze()
    children = []
    for _ in range(processes):
        pid = os.fork()
        if pid == 0:
            count = asyncio.run(serve(url, limit, number) if kind == "app" else race(url, kind, limit, number))
            os.write(1, b"%d\n" % count)
            os._exit(0)  # without taking apart what it shares
        children.append(pid)
    sys.exit(any(os.waitpid(child, 0)[1] for child in children))


if __name__ == "__main__":
    count, *what, each = sys.argv[1:]
    main(int(count), what[0], what[1], what[2], int(each))
