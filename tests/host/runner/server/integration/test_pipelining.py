"""Several messages on one connection: the size of each is checked alone, and no error goes into another response."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from websockets.sync.client import connect

from tests.host.runner.server.test_protocol import Client, problem
from tests.processes import HOST
from tests.service import Service

TOML = """
[server]
header_timeout = "300ms"
max_header = "8KiB"
keep_alive_timeout = "10m"
"""
GET = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n"
LONG = b"X-A: " + b"y" * 9000 + b"\r\n"
STREAM = """
import asyncio


async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"begun ", "more_body": True})
    if scope["method"] == "POST":
        while (await receive())["type"] != "http.disconnect":
            pass
    await asyncio.sleep(0.9)
    await send({"type": "http.response.body", "body": b"ended"})
"""
GREETING = """
import asyncio


async def app(scope, receive, send):
    assert scope["type"] == "websocket"
    await receive()
    await send({"type": "websocket.accept"})
    await asyncio.sleep(0.9)
    await send({"type": "websocket.send", "text": "still here"})
    await receive()
"""


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service(TOML) as running:
        yield running


@pytest.fixture(scope="module")
def stream() -> Iterator[Service]:
    class Streaming(Service):
        def is_ready(self) -> bool:
            return "begun" in self.get("/")

    with Streaming(TOML, {"service": STREAM}) as running:
        yield running


def receive_until(client: Client, end: bytes) -> bytes:
    received = b""
    while not received.endswith(end):
        data = client.socket.recv(65536)
        assert data, received
        received += data
    return received


def send_apart(client: Client, service: Service, *parts: bytes) -> None:
    """Send each part when the server has read those before."""
    for part in parts:
        client.send(part)
        service.get("/served/after/it")  # one event loop: the other request has been read before this response


def test_a_body_does_not_count_towards_the_size_of_the_next_head(service: Service) -> None:
    with Client(service.port) as client:
        client.send(b"POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n")
        send_apart(client, service, *[b"z" * 10_000] * 6)
        receive_until(client, b"/up 60000")
        send_apart(client, service, b"GET /next HTTP/1.1\r\nHo", b"st: x\r\n\r\n")
        receive_until(client, b"/next 0")


def test_a_body_does_not_count_towards_a_head_that_starts_in_the_same_segment(service: Service) -> None:
    with Client(service.port) as client:
        client.send(b"POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: 40000\r\n\r\n")
        send_apart(client, service, b"z" * 20_000, b"z" * 20_000 + b"GET /next HTTP/1.1\r\nHo", b"st: x\r\n\r\n")
        assert b"/up 40000HTTP/1.1 200" in receive_until(client, b"/next 0")


@pytest.mark.parametrize(
    "head", [b"GET /next HTTP/1.1\r\nHost: x\r\n" + LONG + b"\r\n", b"GET /next HTTP/1.1\r\n" + LONG]
)
def test_a_head_over_max_header_is_rejected_on_a_persistent_connection_too(service: Service, head: bytes) -> None:
    with Client(service.port) as client:
        client.send(GET % b"/first")
        receive_until(client, b"/first 0")
        client.send(head)
        assert problem(client.rest()) == (431, "the request head is larger than 8KiB")


BEHIND = [b"GET /he", b"\x16\x03\x01\x02\x00\x01", b"GET /next HTTP/1.1\r\nHost: x\r\n" + LONG + b"\r\n"]


@pytest.mark.parametrize("behind", BEHIND)
def test_an_error_response_waits_for_the_previous_response(service: Service, behind: bytes) -> None:
    with Client(service.port) as client:
        client.send(GET % b"/sleep/0.9" + behind)
        response = client.rest()
    assert response.startswith(b"HTTP/1.1 200 ")
    assert response.endswith(b"\r\n\r\n/sleep/0.9 0")


@pytest.mark.parametrize("behind", BEHIND)
def test_no_error_is_written_into_a_response_that_has_started(stream: Service, behind: bytes) -> None:
    with Client(stream.port) as client:
        client.send(GET % b"/")
        receive_until(client, b"begun \r\n")
        client.send(behind)
        client.send(b"and more")
        assert client.rest() == b"5\r\nended\r\n0\r\n\r\n"


def test_a_malformed_body_is_rejected_unless_the_response_has_started(service: Service, stream: Service) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with Client(service.port) as client:
        client.send(head + b"5\r\nhello\r\nzz\r\n")
        assert problem(client.rest())[0] == 400
    with Client(stream.port) as client:
        client.send(head)
        receive_until(client, b"begun \r\n")
        client.send(b"5\r\nhello\r\nzz\r\n")
        assert client.rest() == b""


def test_a_websocket_has_no_header_timeout() -> None:
    with Service(TOML, {"service": GREETING}) as greeting, connect(f"ws://{HOST}:{greeting.port}/") as socket:
        assert socket.recv(timeout=60) == "still here"
