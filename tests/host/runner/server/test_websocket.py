from __future__ import annotations

import signal
from importlib.metadata import version

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.host.runner.server.test_protocol import Client, problem
from tests.processes import HOST
from tests.service import Service

KEY = b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
UNKNOWN_METHOD = 405 if int(version("websockets").partition(".")[0]) >= 17 else 400
"""The status of websockets, which changed it with version 17."""
CLOSING = """
async def app(scope, receive, send):
    await send({"type": "websocket.close"})
"""


def test_a_rejected_websocket_gets_a_complete_response_and_logs_no_error() -> None:
    with Service('[server]\nallowed_hosts = ["shop.example"]\ndrain_delay = "0s"') as service:
        with pytest.raises(InvalidStatus) as refused, connect(f"ws://{HOST}:{service.port}/"):
            pytest.fail("it was opened")
        response = refused.value.response
        assert (response.status_code, response.headers["content-type"]) == (421, "application/problem+json")
        assert b"this host is not served here" in (response.body or b"")
        service.signal(signal.SIGTERM)
        assert service.wait() == 0
        assert "ERROR" not in service.log()


@pytest.mark.parametrize(
    ("line", "rest"),
    [
        (b"GET / HTTP/1.1", b"".join(b"X-%d: y\r\n" % number for number in range(200)) + b"\r\n"),
        (b"GET / HTTP/1.1", b"X: " + b"a" * 20_000 + b"\r\n\r\n"),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1", b"\r\n"),
        (b"GET / HTTP/1.1", b"Content-Length: 3\r\n\r\nabc"),
        (b"POST / HTTP/1.1", b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ],
    ids=["headers", "header", "target", "body", "chunks"],
)
def test_a_malformed_handshake_is_rejected_and_the_connection_closed(line: bytes, rest: bytes) -> None:
    with Service('[server]\ndrain_delay = "0s"') as service, Client(service.port) as client:
        client.send(line + b"\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" + KEY + rest)
        status, detail = problem(client.rest())
        assert (status, detail.partition(": ")[0]) == (400, "the websocket handshake is not valid")
        assert len(detail) <= 200
        service.signal(signal.SIGTERM)
        assert service.wait() == 0
        assert "ERROR" not in service.log()


@pytest.mark.parametrize(
    ("line", "fields", "status", "why"),
    [
        (b"GET", b"", 400, "missing Sec-WebSocket-Key header"),
        (b"GET", KEY + b"Origin: a\r\nOrigin: b\r\n", 400, "invalid Origin header: multiple values"),
        (b"OPTIONS", KEY, UNKNOWN_METHOD, "unsupported HTTP method: OPTIONS"),
    ],
)
def test_an_invalid_handshake_is_rejected_with_a_problem(line: bytes, fields: bytes, status: int, why: str) -> None:
    with Service() as service, Client(service.port) as client:
        head = line + b" / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" + fields
        client.send(head + b"\r\n")
        assert problem(client.rest()) == (status, f"the websocket handshake is not valid: {why}")


def test_an_application_rejects_a_websocket_with_its_own_response() -> None:
    with Service("", {"service": CLOSING}) as service, Client(service.port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" + KEY + b"\r\n")
        response = client.rest()
        assert response.startswith(b"HTTP/1.1 403 ")
        assert b"handshake" not in response
