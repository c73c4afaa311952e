"""Websockets, streams, server-sent events, background tasks, disconnects and uploads, through real servers."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.processes import HOST, wait_for
from tests.servers import Server, ask
from tests.service import Foreign, Service

FLOWS = (Path(__file__).parent / "applications/flows.py").read_text()
TOML = """
[server]
max_body = "100MB"
body_timeout = "500ms"
[plugins.visits]
"""


@pytest.fixture(scope="module", params=["scalekit", "uvicorn", "granian", "hypercorn"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    own, sources = request.param == "scalekit", {"service": FLOWS}
    with Service(TOML, sources) if own else Foreign(request.param, TOML, sources) as running:
        yield running


def happened(server: Server, name: str) -> bool:
    return ask(server.port, "GET", f"/happened/{name}".replace(" ", "%20")) == "true"


def open_get(server: Server, path: str) -> tuple[HTTPConnection, HTTPResponse]:
    connection = HTTPConnection(HOST, server.port, timeout=60)
    connection.request("GET", path)
    return connection, connection.getresponse()


def test_plugins_are_reachable(server: Server) -> None:
    connection, response = open_get(server, "/happened/nothing")
    with closing(connection):
        assert response.read() == b"false"
        assert int(response.getheader("x-visits", "0")) >= 1


def test_the_first_byte_of_a_slow_stream_arrives_at_once(server: Server) -> None:
    connection, response = open_get(server, "/stream")
    with closing(connection):
        assert response.read1(100) == b"first "
        ask(server.port, "GET", "/release/stream")  # until now the rest did not even exist
        assert response.read() == b"last"


def test_an_event_stream_is_sent_at_once_and_its_end_is_detected(server: Server) -> None:
    connection, response = open_get(server, "/sse")
    with closing(connection):
        assert response.read1(100) == b"data: hello\n\n"
        assert response.getheader("content-type") == "text/event-stream; charset=utf-8"
    wait_for("the end of the stream", lambda: happened(server, "sse ended"))


def test_a_background_task_runs_after_the_response(server: Server) -> None:
    assert ask(server.port, "GET", "/background") == "responded"
    ask(server.port, "GET", "/release/background")
    wait_for("the task's end", lambda: happened(server, "background done"))


def test_a_client_disconnect_is_detected(server: Server) -> None:
    with socket.create_connection((HOST, server.port)) as client:
        client.sendall(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_for("the request", lambda: happened(server, "waiting"))
        assert not happened(server, "disconnected")
    wait_for("the disconnect", lambda: happened(server, "disconnected"))


@pytest.mark.parametrize("framing", ["content-length", "chunked"])
def test_a_large_upload_is_streamed(server: Server, framing: str) -> None:
    size, part = 50_000_000, os.urandom(1_000_000)

    def parts() -> Iterator[bytes]:
        yield part
        wait_for("the first part", lambda: happened(server, framing))
        for _ in range(size // len(part) - 1):
            yield part

    with closing(HTTPConnection(HOST, server.port, timeout=60)) as connection:
        headers = {"content-length": str(size)} if framing == "content-length" else {}
        connection.request("POST", f"/upload/{framing}", parts(), headers, encode_chunked=framing == "chunked")
        assert connection.getresponse().read() == str(size).encode()


@pytest.mark.parametrize("message", ["text", "ünï ✓", b"\x00binary\xff", "x" * 200_000])
def test_websocket_messages_are_echoed_unchanged(server: Server, message: str | bytes) -> None:
    with connect(f"ws://{HOST}:{server.port}/echo") as client:
        client.send(message)
        assert client.recv(timeout=60) == message


def test_a_websocket_keeps_its_subprotocol(server: Server) -> None:
    with connect(f"ws://{HOST}:{server.port}/echo", subprotocols=["v1", "v2"]) as client:  # type: ignore[list-item]
        assert client.subprotocol == "v2"


def test_a_websocket_closed_by_the_application_has_code_and_reason(server: Server) -> None:
    with connect(f"ws://{HOST}:{server.port}/echo") as client:
        client.send("close")
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=60)
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "as you wish")


def test_a_websocket_closed_by_the_client_notifies_the_application(server: Server) -> None:
    with connect(f"ws://{HOST}:{server.port}/echo") as client:
        client.send("hello")
        client.recv(timeout=60)
        client.close(1001)
    wait_for("the close", lambda: happened(server, "closed by the client"))


def test_a_rejected_websocket_receives_the_response_of_the_application(server: Server) -> None:
    with pytest.raises(InvalidStatus) as refused, connect(f"ws://{HOST}:{server.port}/refuse"):
        pytest.fail("it was let in")
    assert refused.value.response.status_code == 401


def test_an_unknown_path_gets_the_404_of_the_application(server: Server) -> None:
    with pytest.raises(OSError, match="404 Not Found"):
        ask(server.port, "GET", "/nowhere")
