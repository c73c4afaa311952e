"""Concurrent clients of a limit in a shared store: forked processes that print how many of their hits were allowed.

Each prints that it is ready and waits for a byte on standard input before it starts.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys

from scalekit import Rate
from scalekit.testing import request, running
from scalekit_ratelimit.limits import Hit, make_limit
from scalekit_ratelimit.shared_limiter import PendingHits
from tests.ratelimit.shared_limiters import limited_host, open_shared, read_states


async def hit_store(url: str, algorithm: str, rate: str, number: int) -> int:
    """Return how many of *number* concurrent hits were allowed."""
    limit = make_limit("race", Rate(rate), None, "gcra" if algorithm == "gcra" else "sliding-window")
    async with open_shared(url) as limiter:
        os.write(1, b"ready\n")  # at once: several write to the pipe
        await asyncio.to_thread(os.read, 0, 1)
        pending = [PendingHits([Hit(limit, "all clients", 1, False)]) for _ in range(number)]
        for hits in pending:
            limiter.send_hits(hits)
        results = [await read_states(limiter, hits) for hits in pending]
    return sum(state.allowed for result in results for state in result.values())


async def request_app(url: str, limit: str, number: int) -> int:
    """Return how many of *number* concurrent requests to an application were allowed."""
    app = limited_host(url, {"default": limit})
    async with running(app) as state:
        os.write(1, b"ready\n")  # at once: several write to the pipe
        await asyncio.to_thread(os.read, 0, 1)
        responses = await asyncio.gather(*(request(app, "/", state=state) for _ in range(number)))
    return sum(response.status == 200 for response in responses)


def allowed(processes: int, url: str, kind: str, limit: str, number: int) -> int:
    """Return how many of *number* hits of each of *processes*, all concurrent, were allowed."""
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
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, process_group=0) as clients:
        try:
            assert clients.stdout is not None
            for _ in range(processes):
                assert clients.stdout.readline() == "ready\n"
            output, _ = clients.communicate("g" * processes, timeout=120)
        except BaseException:
            os.killpg(clients.pid, signal.SIGKILL)
            raise
    assert clients.returncode == 0
    counts = output.split()
    assert len(counts) == processes
    return sum(map(int, counts))


def main(processes: int, url: str, kind: str, limit: str, number: int) -> None:
    """Fork the clients and wait for all of them."""
    gc.freeze()
    children = []
    for _ in range(processes):
        pid = os.fork()
        if pid == 0:
            count = asyncio.run(
                request_app(url, limit, number) if kind == "app" else hit_store(url, kind, limit, number)
            )
            os.write(1, b"%d\n" % count)
            os._exit(0)  # skips teardown of the state shared with the parent
        children.append(pid)
    sys.exit(any(os.waitpid(child, 0)[1] for child in children))


if __name__ == "__main__":
    processes, url, kind, limit, number = sys.argv[1:]
    main(int(processes), url, kind, limit, int(number))
