"""Clients that half-close the connection after their requests and still read responses."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable
from functools import partial

import pytest
import uvloop
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from scalekit.runner.server import protocol
from tests.host.runner.server.apps import GET, body, echo, respond, start
from tests.host.runner.server.raw_client import serving, until

CHUNKED = b"POST /up HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def runner(request: pytest.FixtureRequest) -> asyncio.Runner:
    return asyncio.Runner(loop_factory=request.param)


MOMENT = 0.02
"""Seconds until an application goes on; the server sees its client close before that, whose bytes come at once."""


async def slow(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.sleep(MOMENT)
    await echo(scope, receive, send)


async def streaming(scope: Scope, receive: Receive, send: Send, pause: float = MOMENT) -> None:
    async def parts() -> AsyncGenerator[bytes, None]:
        for _ in range(5):
            await asyncio.sleep(pause)
            yield b"part"

    await StreamingResponse(parts())(scope, receive, send)


async def reading(scope: Scope, receive: Receive, send: Send) -> None:
    received = await Request(scope, receive).body()
    await asyncio.sleep(MOMENT)
    await respond(send, b"read %d" % len(received))


async def half_closing(app: ASGIApp, request: bytes) -> bytes:
    """Send *request*, half-close the connection, and return the response."""
    async with serving(app) as wire, wire.client() as client:
        await client.send(request)
        client.socket.shutdown(socket.SHUT_WR)
        return await client.rest()


@pytest.mark.parametrize(
    ("app", "request_bytes", "ending"),
    [
        (slow, GET % b"/", b"\r\n\r\n"),
        (streaming, GET % b"/", b"4\r\npart\r\n" * 5 + b"0\r\n\r\n"),
        (streaming, b"GET / HTTP/1.0\r\n\r\n", b"part" * 5),
        (reading, CHUNKED + b"5\r\nhello\r\n0\r\n\r\n", b"read 5"),
        (slow, GET % b"/1" + CHUNKED + b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (slow, GET % b"/1" + b"GET /beg", b"\r\n\r\n"),
        (slow, GET % b"/1" + b"\x16\x03", b"\r\n\r\n"),
    ],
    ids=["slow", "streaming", "old version", "body", "pipelined", "unfinished behind", "garbage behind"],
)
def test_a_client_that_half_closes_the_connection_receives_the_whole_response(
    app: ASGIApp, request_bytes: bytes, ending: bytes, runner: asyncio.Runner
) -> None:
    with runner:
        response_bytes = runner.run(half_closing(app, request_bytes))
    assert response_bytes.endswith(ending), response_bytes
    assert response_bytes.count(b"HTTP/1.1 200 OK") == (2 if ending == b"hello" else 1)


def test_a_long_response_to_a_half_closed_connection_is_completed(
    runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HALF_CLOSED_INTERVAL", 0.15)
    with runner:
        assert runner.run(half_closing(partial(streaming, pause=0.1), GET % b"/")).endswith(
            b"4\r\npart\r\n" * 5 + b"0\r\n\r\n"
        )


def test_an_application_that_awaits_a_disconnect_receives_it_when_the_response_stalls(
    runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HALF_CLOSED_INTERVAL", 0.05)
    messages: list[str] = []

    async def listens(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        messages.append((await receive())["type"])
        await respond(send, b"it may still be read")

    with runner:
        response_bytes = runner.run(half_closing(listens, GET % b"/"))
    assert messages == ["http.disconnect"]
    assert response_bytes.endswith(b"\r\n\r\nit may still be read")


@pytest.mark.parametrize("begun", [False, True])
def test_an_application_that_returns_after_the_disconnect_is_not_an_error(
    begun: bool, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(protocol, "HALF_CLOSED_INTERVAL", 0.05)

    async def listens(scope: Scope, receive: Receive, send: Send) -> None:
        if begun:
            await send(start())
            await send(body(b"begun", more=True))
        while (await receive())["type"] != "http.disconnect":
            pass

    with runner:
        response_bytes = runner.run(half_closing(listens, GET % b"/"))
    assert response_bytes.endswith(b"begun\r\n" if begun else b"")
    assert b"500" not in response_bytes
    assert not caplog.records


@pytest.mark.parametrize(
    "begun", [b"", b"GET / HT", CHUNKED, CHUNKED + b"5\r\nhel", CHUNKED + b"0\r\nX-A: b", GET % b"/first" + CHUNKED]
)
def test_an_incomplete_request_on_a_half_closed_connection_closes_it(begun: bytes, runner: asyncio.Runner) -> None:
    with runner:
        response_bytes = runner.run(half_closing(echo, begun))
    assert response_bytes.count(b"HTTP/1.1 200 OK") <= begun.count(b"/first")


def test_a_closed_connection_is_detected_by_a_failed_write(runner: asyncio.Runner) -> None:
    ended: list[Callable[[], bool]] = []

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        ended.append(asyncio.current_task().done)  # type: ignore[union-attr]
        await send(start())
        while (await peek(receive)) is None:
            await send(body(b"x" * 1000, more=True))
            await asyncio.sleep(0.01)

    async def peek(receive: Receive) -> str | None:
        try:
            async with asyncio.timeout(0.01):
                message = await receive()
        except TimeoutError:
            return None
        return None if message["type"] == "http.request" else str(message["type"])

    async def run() -> None:
        async with serving(endless) as wire:
            async with wire.client() as client:
                await client.send(GET % b"/")
                await client.receive(b"\r\n")
            await until(lambda: not wire.state.tasks)

    with runner:
        runner.run(run())
    assert ended[0]()
