"""Take from a limit on Redis as fast as can be, and print how often that was allowed."""

from __future__ import annotations

import asyncio
import sys

from scalekit import Rate
from scalekit.redis import Connections
from scalekit.telemetry import Silence
from scalekit.testing import request, running
from scalekit_ratelimit.memory import Take
from scalekit_ratelimit.rules import rule
from scalekit_ratelimit.shared import SharedLimits
from tests.ratelimit.asking import host


async def race(url: str, algorithm: str, limit: str, number: int) -> int:
    """Return how many of *number* takes, many at once, were allowed."""
    this = rule("race", Rate(limit), None, "gcra" if algorithm == "gcra" else "sliding-window")
    async with Connections(Silence()).open(url, deadline=30.0) as redis:
        limits = SharedLimits(redis, "cluster" in url)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        trips = [limits.send([Take(this, "everybody", 1, False)]) for _ in range(number)]
        counts = [await limits.receive(trip) for trip in trips]
    return sum(count.allowed for each in counts for count in each.values())


async def serve(url: str, limit: str, number: int) -> int:
    """Return how many of *number* requests an application with the default deadline let in."""
    app = host({"url": url, "default": limit})
    async with running(app) as state:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        answers = await asyncio.gather(*(request(app, "/", state=state) for _ in range(number)))
    return sum(answer.status == 200 for answer in answers)


if __name__ == "__main__":
    url, kind, limit, number = sys.argv[1:]
    print(asyncio.run(serve(url, limit, int(number)) if kind == "app" else race(url, kind, limit, int(number))))
