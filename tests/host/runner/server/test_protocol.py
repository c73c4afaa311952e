"""Slow and oversized requests to a real server: timeouts and limits."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from tests.processes import HOST, wait_for
from tests.service import Service

TOML = """
[server]
header_timeout = "300ms"
body_timeout = "300ms"
write_timeout = "500ms"
keep_alive_timeout = "300ms"
max_header = "8KiB"
max_body = "64KiB"
"""
BIG = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    size = int(scope["path"][1:])
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % size)]})
    for _ in range(size // 65536):
        await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
    await send({"type": "http.response.body", "body": b"x" * (size % 65536)})
"""


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service(TOML) as running:
        yield running


@pytest.fixture(scope="module")
def big() -> Iterator[Service]:
    with Service(TOML, {"service": BIG}) as running:
        yield running


class Client:
    """A connection on which bytes are sent as they are."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((HOST, port), timeout=60)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def rest(self) -> bytes:
        """Return everything that comes until the server closes."""
        received = b""
        try:
            while data := self.socket.recv(65536):
                received += data
        except ConnectionResetError:
            pass
        return received

    def dripped_out(self, drop: bytes) -> bool:
        """Send one more *drop*, and tell whether the server has ended the connection."""
        self.socket.setblocking(False)
        try:
            self.send(drop)
            return self.socket.recv(65536) == b""
        except BlockingIOError:
            return False
        except (ConnectionResetError, BrokenPipeError):
            return True


def problem(response: bytes) -> tuple[int, str]:
    head, _, body = response.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    content = json.loads(body)
    assert head.startswith(f"HTTP/1.1 {content['status']} ".encode())
    return content["status"], content["detail"]


@pytest.mark.parametrize("begun", [b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nX-A: "])
def test_a_head_that_is_incomplete_after_header_timeout_is_rejected(service: Service, begun: bytes) -> None:
    with Client(service.port) as client:
        client.send(begun)
        assert problem(client.rest()) == (408, "the request head did not arrive within 0.3s")


@pytest.mark.parametrize("before", [b"", b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"])
@pytest.mark.parametrize(
    ("head", "detail"),
    [
        (b"GET / HTTP/1.1\r\n", "exactly one Host header is required"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n", "exactly one Host header is required"),
        (b"GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n", "exactly one Host header is required"),
        (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n", "the request target is not valid"),
        (b"GET http://[a/ HTTP/1.1\r\nHost: a\r\n", "the host of the request is not valid"),
    ],
)
def test_an_invalid_request_target_is_rejected_without_an_exception(
    service: Service, before: bytes, head: bytes, detail: str
) -> None:
    with Client(service.port) as client:
        if before:
            client.send(before)
            assert client.socket.recv(65536).startswith(b"HTTP/1.1 200 ")
        client.send(head + b"\r\n")
        assert problem(client.rest()) == (400, detail)
    assert "Traceback" not in service.log()


def test_http_1_0_needs_no_host(service: Service) -> None:
    with Client(service.port) as client:
        client.send(b"GET /health/live HTTP/1.0\r\n\r\n")
        assert client.rest().startswith(b"HTTP/1.1 200 ")


def test_a_trickled_head_does_not_extend_header_timeout(service: Service) -> None:
    with Client(service.port) as client:
        client.send(b"GET / HTTP/1.1\r\n")
        wait_for("the end of a trickle", lambda: client.dripped_out(b"X-A: b\r\n"))


def test_a_connection_without_data_is_closed(service: Service) -> None:
    with Client(service.port) as client:
        assert client.rest() == b""


def test_an_idle_connection_is_closed_despite_blank_lines(service: Service) -> None:
    with Client(service.port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.rest().endswith(b"/ 0")
    with Client(service.port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_for("the end of an idle connection", lambda: client.dripped_out(b"\r\n"))


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(1000)) + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-A: " + b"y" * 9000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-A: " + b"y" * 9000,
        b"GET /" + b"y" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_a_head_over_max_header_is_rejected(service: Service, head: bytes) -> None:
    with Client(service.port) as client:
        client.send(head)
        assert problem(client.rest()) == (431, "the request head is larger than 8KiB")


def test_a_head_of_max_header_with_a_body_is_served(service: Service) -> None:
    with Client(service.port) as client:
        length = 60_000
        head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\nX-A: %s\r\n\r\n"
        client.send(head % (length, b"y" * 8000) + b"z" * length)
        assert client.rest().endswith(b"/ 60000")


@pytest.mark.parametrize(
    "garbage", [b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\xff" * 100]
)
def test_malformed_http_is_rejected(service: Service, garbage: bytes) -> None:
    with Client(service.port) as client:
        client.send(garbage)
        assert problem(client.rest())[0] == 400


def test_contradicting_lengths_are_rejected(service: Service) -> None:
    for fields in (b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"Content-Length: 5\r\nContent-Length: 6"):
        with Client(service.port) as client:
            client.send(b"POST / HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n\r\nhello")
            assert problem(client.rest())[0] == 400


@pytest.mark.parametrize(
    "begun", [b"Content-Length: 100\r\n\r\n", b"Content-Length: 100\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n"]
)
def test_a_body_that_does_not_arrive_is_rejected(service: Service, begun: bytes) -> None:
    with Client(service.port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\n" + begun)
        assert problem(client.rest()) == (408, "the body did not arrive in time")


def test_a_content_length_over_max_body_is_rejected_while_the_body_arrives(service: Service) -> None:
    with Client(service.port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100000)
        assert problem(client.rest()) == (413, "the body is larger than 64KiB")


def test_an_endless_chunked_body_is_rejected_and_the_connection_closed(service: Service) -> None:
    before = resident_bytes(service.pid)
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    sent = 0
    with Client(service.port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while sent < 10_000_000_000:
                client.send(chunk)
                sent += len(chunk)
            pytest.fail("ten gigabytes were taken")
        except (ConnectionResetError, BrokenPipeError):
            pass
    assert resident_bytes(service.pid) - before < 50_000_000


def test_after_a_rejected_request_the_connection_is_reused_once_the_body_has_arrived(service: Service) -> None:
    with Client(service.port) as client:
        client.send(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n" + b"x" * 70000)
        client.send(b"GET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        response = client.rest()
        assert response.startswith(b"HTTP/1.1 413 ")
        assert response.endswith(b"/b 0")


@pytest.mark.parametrize("size", [20_000_000, 3_000_000, 100_000])
@pytest.mark.parametrize("connection", [b"keep-alive", b"close"])
def test_a_client_that_does_not_read_is_disconnected(big: Service, size: int, connection: bytes) -> None:
    with Client(big.port) as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.send(b"GET /%d HTTP/1.1\r\nHost: x\r\nConnection: %s\r\n\r\n" % (size, connection))
        wait_for("the connection's end at the server", lambda: connections(big.port) == 0)


def test_many_half_open_connections_are_all_closed_and_others_served_meanwhile(service: Service) -> None:
    before = resident_bytes(service.pid)
    clients = [Client(service.port) for _ in range(500)]
    for client in clients:
        client.send(b"GET / HTTP/1.1\r\nX-A: ")
    assert service.get("/still/here") == "/still/here 0"
    wait_for("the end of all half-open connections", lambda: connections(service.port) == 0)
    for client in clients:
        client.socket.close()
    assert resident_bytes(service.pid) - before < 50_000_000


def connections(port: int) -> int:
    """Return how many connections the server on *port* holds: established, or closed by the client alone."""
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table]
    return sum(row[1] == f"0100007F:{port:04X}" and row[3] in ("01", "08") for row in rows)


def resident_bytes(pid: int) -> int:
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))
