"""One side of a comparison, in an interpreter of its own.

Run as ``python worker.py MODULE``. It loads the case, checks one response, and then, for each line ``NUMBER`` on its
input, serves so many requests and prints what they cost. Only the standard library and uvloop are used, since peers
run it in environments of their own. The driver stands where a server stands: a task a request, CONCURRENT of them at
once, each starting the next when it is done.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

CONCURRENT = 32
CLIENTS = 1000
UNTIL_A_PAUSE = 500
PAUSE = 0.001


class Driver:
    """Send the same request again and again, from changing clients."""

    def __init__(
        self, app: Any, path: str, state: dict[str, Any], headers: list[tuple[bytes, bytes]], status: int
    ) -> None:
        self.app = app
        self.path = path
        self.status = status
        self.state = state
        self.headers = headers
        self.sent = 0
        self.wrong = 0
        self.body = b""
        self.clients = [(f"10.0.{number // 250}.{number % 250 + 1}", 40000 + number) for number in range(CLIENTS)]

    def scope(self) -> dict[str, Any]:
        """Return a new scope such as uvicorn makes."""
        self.sent += 1
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "server": ("127.0.0.1", 8000),
            "client": self.clients[self.sent % CLIENTS],
            "scheme": "http",
            "root_path": "",
            "headers": self.headers.copy(),
            "state": self.state.copy(),
            "method": "GET",
            "path": self.path,
            "raw_path": self.path.encode(),
            "query_string": b"",
        }

    async def receive(self) -> dict[str, Any]:
        """Return the empty body of a GET."""
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: dict[str, Any]) -> None:
        """Look at the status and keep the body."""
        if message["type"] == "http.response.start":
            self.wrong += message["status"] != self.status
            self.body = b""
        elif body := message.get("body"):
            self.body += body

    async def serve(self, number: int) -> None:
        """Serve *number* requests, CONCURRENT at once.

        The loop pauses regularly, as a server waits for its sockets: otherwise background threads, such as the log
        writer, would hardly run and their work would not be measured.
        """
        while number > 0:
            await self._serve(min(number, UNTIL_A_PAUSE))
            number -= UNTIL_A_PAUSE
            await asyncio.sleep(PAUSE)

    async def _serve(self, number: int) -> None:
        loop = asyncio.get_running_loop()
        finished = loop.create_future()
        left, open_requests = number, 0

        def next_request(done: asyncio.Task[None] | None = None) -> None:
            nonlocal left, open_requests
            if done is not None:
                open_requests -= 1
                done.result()
            if left > 0:
                left -= 1
                open_requests += 1
                loop.create_task(self.app(self.scope(), self.receive, self.send)).add_done_callback(next_request)
            elif open_requests == 0 and not finished.done():
                finished.set_result(None)

        for _ in range(min(CONCURRENT, number)):
            next_request()
        await finished


async def start(app: Any) -> dict[str, Any]:
    """Drive the lifespan of *app* to its start, and return the state."""
    state: dict[str, Any] = {}
    to_app: asyncio.Queue[Any] = asyncio.Queue()
    messages: asyncio.Queue[Any] = asyncio.Queue()
    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": state}
    global _lifespan  # keeps the task from being collected
    _lifespan = asyncio.create_task(app(scope, to_app.get, messages.put))
    await to_app.put({"type": "lifespan.startup"})
    message = await messages.get()
    if message["type"] != "lifespan.startup.complete":
        raise RuntimeError(message)
    return state


_lifespan: Any = None


async def work(name: str) -> None:
    """Load the case *name*, check it, and serve rounds until the input ends."""
    case = importlib.import_module(name)
    app = case.make()
    headers = [(b"host", b"127.0.0.1:8000"), (b"user-agent", b"wrk/4.1"), (b"accept", b"*/*")]
    headers += getattr(case, "HEADERS", ())
    driver = Driver(app, case.PATH, await start(app), headers, getattr(case, "STATUS", 200))
    await driver.serve(getattr(case, "BEFORE", 0))
    driver.wrong = 0
    await driver.serve(1)
    if driver.wrong or case.BODY not in (None, driver.body):
        raise RuntimeError(f"{name} responds with {driver.body!r}")
    print(json.dumps({"ready": name}), flush=True)
    while line := sys.stdin.readline():
        number = int(line)
        gc.collect()
        wall, cpu = time.perf_counter(), time.process_time()
        await driver.serve(number)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        print(json.dumps({"cpu": cpu / number, "wall": wall / number, "wrong": driver.wrong}), flush=True)


if __name__ == "__main__":
    import uvloop

    sys.path[0] = str(Path(__file__).parent / "cases")  # without this folder, whose requests.py hides the library
    uvloop.run(work(sys.argv[1]))
