"""Servers that respond slowly, with nonsense, or not at all: what is repeated, and what the operator reads."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest

from scalekit_tracing.config import TracingConfig
from scalekit_tracing.otlp.collector_client import CollectorClient, CollectorRejection, CollectorUnavailable
from scalekit_tracing.otlp.endpoint import CollectorEndpoint, endpoint_of
from tests.certificates import Authority
from tests.processes import HOST, free_ports

OK = b"HTTP/1.1 200 OK\r\n"
Serve = Callable[[socket.socket, Event], object]
"""Serves one connection until the event is set."""


@contextmanager
def raw_server(serve: Serve) -> Generator[int, None, None]:
    """Run *serve* for each connection in a thread while inside; yield the port."""
    ended = Event()
    threads: list[Thread] = []

    def run(connected: socket.socket) -> None:
        with connected:
            try:
                serve(connected, ended)
            except OSError:
                pass

    def accept() -> None:
        while not ended.is_set():
            connected, _ = listener.accept()
            threads.append(Thread(target=run, args=(connected,)))
            threads[-1].start()

    with socket.create_server((HOST, 0)) as listener:
        acceptor = Thread(target=accept)
        acceptor.start()
        try:
            yield listener.getsockname()[1]
        finally:
            ended.set()
            socket.create_connection(listener.getsockname()).close()
            for each in (acceptor, *threads):
                each.join()


def receive_request(connected: socket.socket) -> None:
    """Read the head and the body of a request."""
    with connected.makefile("rb") as stream:
        length = 0
        while (line := stream.readline()) != b"\r\n":
            if not line:
                raise ConnectionError
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        stream.read(length)


def replying(reply: bytes, again: bytes = b"") -> Serve:
    """Return what responds with *reply*, and then sends *again* over and over; it closes the connection without."""

    def serve(connected: socket.socket, ended: Event) -> None:
        receive_request(connected)
        connected.sendall(reply)
        while again and not ended.wait(0.01):
            connected.sendall(again)

    return serve


def silent(connected: socket.socket, ended: Event) -> None:
    receive_request(connected)
    ended.wait()


def deaf(connected: socket.socket, ended: Event) -> None:
    ended.wait()


def resetting(connected: socket.socket, ended: Event) -> None:
    receive_request(connected)
    connected.sendall(OK + b"content-length: 100\r\n\r\nabc")
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01" + bytes(7))  # closing sends RST


def endpoint(port: int, scheme: str = "http", timeout: float = 5.0) -> CollectorEndpoint:
    config = TracingConfig.model_validate({"endpoint": f"{scheme}://{HOST}:{port}"})
    return endpoint_of(config, {})._replace(timeout=timeout)


def failure_of(serve: Serve, timeout: float = 5.0, scheme: str = "http") -> Exception:
    """Return the exception of a request to *serve*."""
    with raw_server(serve) as port, closing(CollectorClient(endpoint(port, scheme, timeout), "text/plain")) as client:
        with pytest.raises((CollectorUnavailable, CollectorRejection)) as failed:
            client.send(b"x" * 1_000_000)
        assert str(failed.value).startswith(f"{scheme}://{HOST}:{port}/v1/traces: ")
        assert str(failed.value).isprintable()
        return failed.value


@pytest.mark.parametrize(
    "serve",
    [
        silent,
        deaf,
        replying(OK + b"x: ", b"x"),
        replying(OK + b"content-length: 100000\r\n\r\n", b"x"),
        replying(OK + b"transfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        replying(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["silent", "deaf", "endless head", "slow body", "endless body", "endless 100"],
)
def test_the_timeout_is_for_the_whole_response(serve: Serve) -> None:
    error = failure_of(serve, timeout=0.2)
    assert isinstance(error, CollectorUnavailable)
    assert "no complete response within 0.2 s; raise tracing.timeout" in str(error)


@pytest.mark.parametrize(
    ("serve", "message"),
    [
        (resetting, "the connection was closed before the response was complete"),
        (replying(OK + b"transfer-encoding: chunked\r\n\r\nzz\r\n"), "the connection was closed before"),
        (replying(b"\x00\x00\x06\x04\x00\r\n\x1b[31m"), "not HTTP/1.1"),
        (replying(OK + b"".join(b"h%d: x\r\n" % number for number in range(200)) + b"\r\n"), "not HTTP/1.1"),
        (replying(b"HTTP/1.1 503 No\r\ncontent-length: 4\r\n\r\nbusy"), "status 503, busy"),
    ],
    ids=["reset", "broken chunks", "HTTP/2", "200 headers", "503"],
)
def test_failures_that_may_pass_are_repeated(serve: Serve, message: str) -> None:
    error = failure_of(serve)
    assert isinstance(error, CollectorUnavailable)
    assert message in str(error)


def response(status: int, headers: bytes, body: bytes = b"") -> Serve:
    return replying(b"HTTP/1.1 %d x\r\n%s\r\ncontent-length: %d\r\n\r\n%s" % (status, headers, len(body), body))


@pytest.mark.parametrize(
    ("serve", "message"),
    [
        (response(400, b"x: y", b"\x08\x03\x12\x05wrong\n\x1b[31m"), "status 400, wrong [31m; check that it accepts"),
        (response(401, b"x: y"), "status 401; check the credentials"),
        (response(404, b"x: y", b"x" * 10_000), f"status 404, {'x' * 200}; check the path"),
        (response(413, b"x: y"), "status 413; raise the limit"),
        (response(307, b"location: http://user:s3cr3t@new:1/x?token=s3cr3t"), "a redirect to http://new:1/x, which is"),
        (response(301, b"location: http://[nonsense"), "status 301, a redirect, which is not followed"),
        (response(200, b"content-type: text/html", b"<html>"), "a page, not that of a collector"),
    ],
    ids=["400", "401", "404", "413", "redirect", "odd redirect", "page"],
)
def test_rejections_are_final_and_say_why(serve: Serve, message: str) -> None:
    error = failure_of(serve)
    assert isinstance(error, CollectorRejection)
    assert message in str(error)
    assert "s3cr3t" not in str(error)


def test_nobody_listens() -> None:
    (port,) = free_ports(1)
    with pytest.raises(CollectorUnavailable, match=r"refused; start the server, or correct tracing\.endpoint"):
        CollectorClient(endpoint(port), "text/plain").send(b"x")


def test_a_server_without_tls() -> None:
    def serve(connected: socket.socket, ended: Event) -> None:
        connected.recv(1)
        connected.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        connected.recv(100_000)

    error = failure_of(serve, scheme="https")
    assert "TLS failed, WRONG_VERSION_NUMBER; write http:// in tracing.endpoint" in str(error)


def test_a_certificate_of_an_unknown_authority(tmp_path: Path) -> None:
    files = Authority(tmp_path).issue("collector")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)

    def serve(connected: socket.socket, ended: Event) -> None:
        context.wrap_socket(connected, server_side=True).close()

    error = failure_of(serve, scheme="https")
    assert "its certificate is not trusted" in str(error)
    assert "SSL_CERT_FILE" in str(error)


def test_a_long_response_is_not_read() -> None:
    serve = replying(OK + b"content-length: 10000000\r\n\r\n" + b"x" * 10_000_000)
    with raw_server(serve) as port, closing(CollectorClient(endpoint(port), "text/plain")) as client:
        for _ in range(2):
            assert len(client.send(b"x")) == 65_536


def test_a_connection_that_the_collector_closed_while_it_was_idle() -> None:
    requests: list[bytes] = []

    def serve(connected: socket.socket, ended: Event) -> None:
        receive_request(connected)
        requests.append(b"x")
        connected.sendall(OK + b"content-length: 2\r\n\r\nok")

    with raw_server(serve) as port, closing(CollectorClient(endpoint(port), "text/plain")) as client:
        for _ in range(5):
            assert client.send(b"x") == b"ok"
    assert len(requests) == 5
