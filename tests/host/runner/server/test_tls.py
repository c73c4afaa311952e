"""HTTP/1.1 and websockets over TLS behave as without it."""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import pytest
from websockets.sync.client import connect

from tests.processes import HOST, free_ports
from tests.servers import ask
from tests.tls_service import TlsService

SOURCE = """\
import asyncio

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute

released = asyncio.Event()


async def echo(websocket):
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(f"{websocket.url.scheme} {text[::-1]}")


async def events(request):
    async def produce():
        yield b"first"
        await released.wait()
        yield b"second"

    return StreamingResponse(produce())


async def release(request):
    released.set()
    return PlainTextResponse("released")


async def size(request):
    length = 0
    async for part in request.stream():
        length += len(part)
    return PlainTextResponse(f"{length} {request.url.scheme}")


async def large(request):
    return Response(b"x" * int(request.query_params["size"]))


app = Starlette(
    routes=[
        WebSocketRoute("/echo", echo),
        Route("/events", events),
        Route("/release", release),
        Route("/size", size, methods=["GET", "POST"]),
        Route("/large", large),
    ]
)
"""
IMPATIENT = 'header_timeout = "500ms"\nwrite_timeout = "500ms"\ndrain_delay = "0s"\nmanagement_address = "{}"'
LARGE = 8 << 20
LARGE_MESSAGE = 1 << 19


@pytest.fixture(scope="module")
def management() -> int:
    return free_ports(1)[0]


@pytest.fixture(scope="module")
def service(management: int) -> Iterator[TlsService]:
    limits = IMPATIENT.format(f"{HOST}:{management}")
    with TlsWithManagement(limits, "[plugins.headers]", {"service": SOURCE}, 'handshake_timeout = "500ms"') as running:
        yield running
        log = running.log()
        assert "Traceback" not in log, log
        assert "ERROR" not in log, log
        assert "eof_received" not in log, log


class TlsWithManagement(TlsService):
    """Health is on the management address, so readiness is a response of the application."""

    def is_ready(self) -> bool:
        return self.get("/size").startswith("0 ")


def test_a_connection_serves_many_requests_and_the_scheme_is_https(service: TlsService) -> None:
    with closing(service.connection()) as connection:
        sockets = set()
        for _ in range(3):
            connection.request("POST", "/size", b"x" * LARGE)
            response = connection.getresponse()
            assert response.read() == b"%d https" % LARGE
            assert response.getheader("strict-transport-security")
            sockets.add(connection.sock)
    assert len(sockets) == 1


def test_a_large_response_arrives_complete(service: TlsService) -> None:
    with closing(service.connection()) as connection:
        connection.request("GET", f"/large?size={LARGE}", headers={"connection": "close"})
        assert len(connection.getresponse().read()) == LARGE


def test_a_stream_is_sent_part_by_part(service: TlsService) -> None:
    with closing(service.connection()) as connection:
        connection.request("GET", "/events")
        response = connection.getresponse()
        assert response.read(5) == b"first"
        assert service.get("/release") == "released"
        assert response.read() == b"second"


def test_pipelined_requests_are_served_in_order(service: TlsService) -> None:
    with service.connect() as client:
        client.sendall(b"".join(b"GET /large?size=%d HTTP/1.1\r\nhost: a\r\n\r\n" % size for size in (3, 5)))
        received = b""
        while not received.endswith(b"xxxxx"):
            received += client.recv(65536)
    assert received.index(b"content-length: 3") < received.index(b"content-length: 5")


def test_a_websocket_has_the_scheme_wss(service: TlsService) -> None:
    url = f"wss://localhost:{service.port}/echo"
    with connect(url, ssl=service.client_context(), sock=plain(service)) as client:
        client.send("stressed")
        assert client.recv() == "wss desserts"
        client.send("x" * LARGE_MESSAGE)
        assert client.recv() == "wss " + "x" * LARGE_MESSAGE


def plain(service: TlsService) -> socket.socket:
    return socket.create_connection((HOST, service.port), timeout=60)


def test_alpn_selects_http_1_1_and_tls_1_1_is_refused(service: TlsService) -> None:
    context = service.client_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with service.connect(context) as client:
        assert client.selected_alpn_protocol() == "http/1.1"
    old = service.client_context()
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2
    with service.connect(old) as client:
        assert client.version() == "TLSv1.2"
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError), service.connect(old):
        pass


def test_a_client_that_stalls_in_the_handshake_is_disconnected(service: TlsService) -> None:
    with plain(service) as silent, plain(service) as trickling:
        trickling.sendall(b"\x16\x03\x01\x02\x00\x01")  # the begin of a ClientHello
        assert silent.recv(100) == b""
        assert trickling.recv(100) == b""
    assert service.get("/size") == "0 https"


def test_a_client_without_tls_gets_no_response(service: TlsService) -> None:
    with plain(service) as client:
        client.sendall(b"GET /size HTTP/1.1\r\nhost: a\r\n\r\n")
        assert b"HTTP/" not in client.recv(65536)


def test_a_head_that_does_not_arrive_gets_408(service: TlsService) -> None:
    with service.connect() as client:
        client.sendall(b"GET /size HTTP/1.1\r\n")
        received = b""
        while data := client.recv(65536):
            received += data
    assert received.startswith(b"HTTP/1.1 408 ")


def test_a_client_that_does_not_read_is_disconnected(service: TlsService) -> None:
    with service.connect() as client:
        client.sendall(b"GET /large?size=%d HTTP/1.1\r\nhost: a\r\n\r\n" % (LARGE * 4))
        poll = select.poll()
        poll.register(client, select.POLLERR)
        assert poll.poll(60_000), "the connection is not reset"


def test_a_client_that_half_closes_the_connection_logs_no_warning(service: TlsService) -> None:
    with service.connect() as client:
        client.sendall(b"GET /large?size=%d HTTP/1.1\r\nhost: a\r\n\r\n" % 10)
        with suppress(OSError):  # the response that arrives instead of close_notify
            client.unwrap()
    assert service.get("/size") == "0 https"


def test_many_clients_are_served_at_once(service: TlsService) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: service.get("/size"), range(64))) == {"0 https"}


def test_the_management_address_is_plain(service: TlsService, management: int) -> None:
    assert '"phase":"ready"' in ask(management, "GET", "/health")
    log = service.log()
    assert f"on https://{HOST}:{service.port}" in log
    assert f"pages are on http://{HOST}:{management}" in log
