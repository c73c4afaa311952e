"""One request on its connection: reading the body, ASGI messages, and release of resources."""

from __future__ import annotations

import asyncio
import gc
import weakref
from contextvars import ContextVar
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from scalekit.runner.server import protocol
from tests.host.runner.server.apps import GET, LAST, body, echo, paths, respond, start
from tests.host.runner.server.raw_client import serving, until

pytestmark = pytest.mark.anyio

SEEN: ContextVar[str] = ContextVar("SEEN", default="nothing")


@pytest.mark.parametrize("expectation", [b"100-continue", b"100-Continue \t"])
async def test_100_continue_is_sent_once_the_body_is_read(expectation: bytes) -> None:
    fields = b"Host: x\r\nConnection: close\r\nContent-Length: 5\r\nExpect: " + expectation
    head = b"POST / HTTP/1.1\r\n" + fields + b"\r\n\r\n"
    heard: list[bytes] = []

    async def hears(scope: Scope, receive: Receive, send: Send) -> None:
        while (message := await receive())["more_body"]:
            heard.append(message["body"])
        await respond(send, message["body"])

    async with serving(hears) as wire, wire.client() as client:
        await client.send(head)
        assert await client.receive(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"he")
        await until(lambda: heard == [b"he"])
        await client.send(b"llo")
        assert (await client.rest()).startswith(b"HTTP/1.1 200 OK\r\n")
    async with serving(paths) as wire:
        assert (await wire.request(head)).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_a_body_in_many_parts_is_read_completely() -> None:
    data = b"".join(b"%x\r\n%b\r\n" % (size, b"z" * size) for size in range(1, 600))
    async with serving(echo) as wire:
        response_bytes = await wire.request(
            b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
            + data
            + b"0\r\n\r\n"
        )
    assert response_bytes.endswith(b"\r\n\r\n" + b"z" * (599 * 300))


class Waiting:
    """Reads the request, then waits for http.disconnect."""

    def __init__(self) -> None:
        self.waits = False
        self.received: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        self.waits = True
        self.received.append((await receive())["type"])
        await send(start())
        await send(body(b"discarded"))


@pytest.mark.parametrize("behind", [b"", GET % b"/behind"])
async def test_a_waiting_application_receives_a_disconnect(
    behind: bytes, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HALF_CLOSED_INTERVAL", 0.1)
    app = Waiting()
    async with serving(app) as wire:
        async with wire.client() as client:
            await client.send(GET % b"/" + behind)
            await until(lambda: app.waits)
        await until(lambda: not wire.state.tasks)
    assert app.received == ["http.disconnect"] * (2 if behind else 1)  # it may have closed only its own side
    assert not caplog.records


async def test_two_concurrent_receives_both_get_a_message() -> None:
    received: list[str] = []

    async def twice(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        first, second = (asyncio.ensure_future(receive()) for _ in range(2))
        await asyncio.sleep(0)
        await respond(send, b"done")
        received.extend([(await first)["type"], (await second)["type"], (await receive())["type"]])

    async with serving(twice) as wire, wire.client() as client:
        await client.send(GET % b"/")
        await client.receive(b"done")
        await until(lambda: not wire.state.tasks)
        assert received == ["http.disconnect"] * 3


async def test_context_variables_of_one_request_are_not_visible_to_the_next() -> None:
    async def setting(scope: Scope, receive: Receive, send: Send) -> None:
        seen = SEEN.get()
        SEEN.set(scope["path"])
        await respond(send, seen.encode())

    async with serving(setting) as wire:
        response_bytes = await wire.request(GET % b"/1" + GET % b"/2" + LAST % b"/3")
    assert response_bytes.count(b"\r\n\r\nnothing") == 3


async def test_reading_pauses_when_the_application_does_not_consume_the_body() -> None:
    go_on = asyncio.Event()

    async def reads_late(scope: Scope, receive: Receive, send: Send) -> None:
        await go_on.wait()
        await echo(scope, receive, send)

    size = 5_000_000
    async with serving(reads_late) as wire, wire.client() as client:
        upload = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + b"z" * size
        sending = asyncio.ensure_future(client.send(upload))
        await until(lambda: bool(wire.state.connections))
        connection: Any = next(iter(wire.state.connections))
        await until(lambda: connection.flow.read_paused)
        assert len(connection.cycle.body) < 1_000_000
        go_on.set()
        await sending
        assert len(await client.receive(b"z" * size)) > size


@pytest.mark.slow
async def test_send_waits_for_a_client_that_does_not_read() -> None:
    parts, sent = 2_000, 0

    async def sends_a_lot(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal sent
        await send(start())
        for _ in range(parts):
            await send(body(b"x" * 10_000, more=True))
            sent += 1
        await send(body())

    async with serving(sends_a_lot) as wire, wire.client() as client:
        await client.send(LAST % b"/")
        await until(lambda: any(vars(each)["flow"].write_paused for each in wire.state.connections))
        assert sent < parts
        assert (await client.rest()).count(b"x" * 10_000) == parts


async def test_a_closed_connection_is_released_at_once() -> None:
    async with serving(paths) as wire:
        async with wire.client() as client:
            await client.send(GET % b"/")
            await client.receive(b"/")
            (connection,) = wire.state.connections
            forgotten = weakref.ref(connection)
            del connection
            gc.disable()
        try:
            await until(lambda: forgotten() is None)
        finally:
            gc.enable()


async def test_http_1_0_gets_one_response_for_each_connection() -> None:
    request = b"GET /old HTTP/1.0\r\n\r\n"
    async with serving(paths) as wire:
        assert await wire.request(request) == b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\n/old"


async def test_connection_close_of_a_response_or_of_the_server_closes_the_connection() -> None:
    async def last(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start((b"connection", b"x, Close"), (b"content-length", b"0")))
        await send(body())

    async with serving(last) as wire:
        assert (
            await wire.request(GET % b"/" * 2)
            == b"HTTP/1.1 200 OK\r\nconnection: x, Close\r\ncontent-length: 0\r\n\r\n"
        )
    async with serving(paths) as wire:
        wire.state.default_headers = [(b"connection", b"close")]
        assert (
            await wire.request(GET % b"/" * 2) == b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\n/"
        )


async def test_requests_are_counted_and_their_tasks_released() -> None:
    async with serving(paths) as wire:
        await wire.request(GET % b"/" * 2 + LAST % b"/")
        assert wire.state.total_requests == 3
        assert not wire.state.tasks


@pytest.mark.parametrize("requests", [GET % b"/1", GET % b"/1" + GET % b"/2"])
async def test_a_connection_is_closed_after_keep_alive(requests: bytes) -> None:
    async with serving(paths, keep_alive=0.05) as wire:
        response_bytes = await wire.request(requests)
    assert response_bytes.count(b"HTTP/1.1 200 OK") == requests.count(b"GET")


async def test_a_request_may_take_longer_than_keep_alive() -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(1.0 if scope["path"] == "/slow" else 0)
        await respond(send, b"served")

    async with serving(slow, keep_alive=0.5) as wire, wire.client() as client:
        await client.send(GET % b"/")
        await client.receive(b"served")
        await client.send(GET % b"/slow")
        assert (await client.rest()).endswith(b"served")
