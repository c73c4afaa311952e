"""A client that does not read delays no other request, and its buffer is bounded."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from http.client import HTTPConnection

import pytest
from starlette.types import Message, Receive, Scope, Send

from tests.cache.harness import CacheHarness, Reader, Stream, until
from tests.processes import HOST
from tests.service import Service

pytestmark = pytest.mark.anyio

CC = (b"cache-control", b"max-age=60")
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def chunked_app(*parts: bytes, headers: tuple[tuple[bytes, bytes], ...] = (CC,)) -> App:
    """Return an application that sends *parts* one after the other without delay."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": list(headers)})
        for number, part in enumerate(parts, 1):
            await send({"type": "http.response.body", "body": part, "more_body": number < len(parts)})

    return app


def start_blocked_reader(harness: CacheHarness) -> Reader:
    """Return a client that connects and does not read."""
    reader = Reader(harness)
    reader.reads.clear()
    return reader


SHAPES = {
    "one part": chunked_app(b"whole"),
    "several parts": chunked_app(b"who", b"le"),
    "parts with an empty end": chunked_app(b"who", b"le", b""),
    "a length": chunked_app(b"who", b"le", headers=(CC, (b"content-length", b"5"))),
}


@pytest.mark.parametrize("app", SHAPES.values(), ids=SHAPES.keys())
async def test_a_client_that_does_not_read_delays_no_other_request(app: App) -> None:
    calls = 0

    async def counted(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal calls
        calls += 1
        await app(scope, receive, send)

    harness = CacheHarness(counted)
    slow = start_blocked_reader(harness)
    at_once = Reader(harness)
    await at_once.task
    later = await harness.fetch()
    assert at_once.response.body == later.body == b"whole"
    assert later.header("cache-status") == "scalekit; hit; ttl=60"
    assert calls == 1, "no request gave up waiting and called the application"
    assert not slow.task.done()
    assert slow.response.status == 0
    slow.reads.set()
    await slow.task
    assert slow.response.body == b"whole"


async def test_a_client_that_does_not_read_its_304_delays_no_other_request() -> None:
    headers = (CC, (b"etag", b'"a"'))
    harness = CacheHarness(chunked_app(b"who", b"le", headers=headers))
    slow = Slow(harness, [("If-None-Match", '"a"')])
    fast = Reader(harness)
    async with asyncio.timeout(60):
        await fast.task
    assert fast.response.body == b"whole"
    slow.reads.set()
    await slow.task
    assert [message["type"] for message in slow.seen] == ["http.response.start", "http.response.body"]
    assert slow.seen[0]["status"] == 304


class Slow:
    """A client that does not read until *reads* is set."""

    def __init__(self, harness: CacheHarness, headers: list[tuple[str, str]]) -> None:
        self.reads = asyncio.Event()
        self.seen: list[Message] = []
        scope = harness.scope(headers=headers)
        self.task = asyncio.ensure_future(harness.chain(scope, asyncio.Event().wait, self.send))  # type: ignore[arg-type]

    async def send(self, message: Message) -> None:
        await self.reads.wait()
        self.seen.append(message)


async def test_beyond_max_body_the_application_waits_for_its_client_and_other_requests_call_it_themselves() -> None:
    stream = Stream()
    harness = CacheHarness(stream, max_body=100)
    slow = start_blocked_reader(harness)
    for _ in range(50):
        stream.parts.put_nowait((b"x" * 10, True))
    stream.parts.put_nowait((b"end", False))
    await until(lambda: stream.parts.qsize() < 45)
    for _ in range(100):
        await asyncio.sleep(0)
    assert stream.sent <= 11, "the buffer is bounded"
    assert harness.cache._flights == {}
    for _ in range(2):
        alone = Reader(harness)
        await until(lambda: stream.calls > 1)
        await until(lambda: alone.response.body)  # noqa: B023
        alone.task.cancel()
    slow.reads.set()
    await until(lambda: b"x" * 100 in slow.response.body)
    stream.parts.put_nowait((b"end", False))
    await slow.task


async def test_a_first_chunk_above_max_body_reaches_its_client() -> None:
    harness = CacheHarness(chunked_app(b"x" * 50, b"y" * 50, b"end"), max_body=10)
    first, second = Reader(harness), Reader(harness)
    await asyncio.gather(first.task, second.task)
    assert first.response.body == second.response.body == b"x" * 50 + b"y" * 50 + b"end"


async def test_when_a_slow_client_disconnects_the_response_ends_unless_followers_read_it() -> None:
    stream = Stream()
    harness = CacheHarness(stream)
    slow = start_blocked_reader(harness)
    stream.parts.put_nowait((b"one", True))
    await until(lambda: stream.sent == 1)
    slow.leaves = True
    slow.reads.set()
    stream.parts.put_nowait((b"two", True))
    stream.parts.put_nowait((b"three", True))
    with pytest.raises(OSError, match="disconnected"):
        await slow.task
    assert harness.cache._flights == {}


async def test_a_cancelled_leader_leaves_no_task() -> None:
    stream = Stream()
    harness = CacheHarness(stream)
    slow, fast = start_blocked_reader(harness), Reader(harness)
    stream.parts.put_nowait((b"one", True))
    await until(lambda: fast.response.body == b"one")
    slow.task.cancel()
    results = await asyncio.gather(slow.task, fast.task, return_exceptions=True)
    assert [type(each).__name__ for each in results] == ["CancelledError", "LeaderFailed"]
    assert harness.cache._flights == {}
    slow = start_blocked_reader(harness)
    stream.parts.put_nowait((b"who", True))
    stream.parts.put_nowait((b"le", False))
    await until(lambda: harness.store.peek_unsynced((b"shop.example", b"/", b"", b"http")) is not None)
    slow.task.cancel()
    await asyncio.gather(slow.task, return_exceptions=True)
    assert (await harness.fetch()).body == b"whole"


async def test_the_start_of_a_response_without_a_body_is_sent() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [CC]})

    harness = CacheHarness(app)
    assert (await harness.fetch()).status == 200


TOML = """
[server]
write_timeout = "10m"

[plugins.cache]
max_body = "32MiB"
coalesce_timeout = "10m"
policies = [{ path = "/static/**", ttl = "1m" }]
"""
SERVICE = """
from pathlib import Path

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

Path("static").mkdir()
Path("static/page.js").write_bytes(b"x" * 20_000_000)
app = Starlette(routes=[Mount("/static", StaticFiles(directory="static"))])
"""


def test_a_file_that_one_client_does_not_read_is_sent_to_the_next_at_once() -> None:
    with Service(TOML, {"service": SERVICE}) as service:
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        slow.connect((HOST, service.port))
        slow.sendall(b"GET /static/page.js HTTP/1.1\r\nHost: shop.example\r\n\r\n")
        with slow:
            for _ in range(2):
                connection = HTTPConnection(HOST, service.port, timeout=60)
                connection.request("GET", "/static/page.js", headers={"Host": "shop.example"})
                response = connection.getresponse()
                assert len(response.read()) == 20_000_000
                status = response.headers["Cache-Status"]
                assert "; hit; " in status or status.endswith("; collapsed")
                connection.close()
