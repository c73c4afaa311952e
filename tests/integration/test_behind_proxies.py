"""Requests through nginx, Caddy and HAProxy, configured by `scalekit deploy`: one suite for the three."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator, Sequence
from http.client import HTTPConnection, HTTPResponse

import pytest
from websockets.sync.client import connect

from tests.processes import HOST, wait_for
from tests.proxies import FRONTS, Proxy
from tests.servers import Server
from tests.service import Service

pytestmark = pytest.mark.needs("nginx", "caddy", "haproxy")

PLUGINS = "\n[plugins.console]\n[plugins.logging]\n[plugins.metrics]\n"
CLIENT = "127.0.0.2"
"""Address of clients that are no trusted proxy; every address of 127.0.0.0/8 is this machine's."""
TOKEN = "the token of operators in these tests"
SERVER = f"""\
max_body = "12MiB"
max_header = "16KiB"
trusted_proxies = ["127.0.0.1"]
operator_token = "{TOKEN}"
"""
SOURCE = """\
import asyncio

from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute

released = asyncio.Event()
smuggled = []


async def echo(websocket):
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text[::-1])


async def events(request):
    async def produce():
        yield "data: first\\n\\n"
        await released.wait()
        yield "data: second\\n\\n"

    return StreamingResponse(produce(), media_type="text/event-stream")


async def release(request):
    released.set()
    released.clear()
    return PlainTextResponse("released")


async def size(request):
    length = 0
    async for part in request.stream():
        length += len(part)
    return JSONResponse({"length": length, "client": request.client.host})


async def describe(request):
    body = await request.body()
    return JSONResponse(
        {
            "client": request.client.host,
            "port": request.client.port,
            "scheme": request.url.scheme,
            "host": request.headers["host"],
            "headers": dict(request.headers),
            "body": body.decode(),
        }
    )


async def long_text(request):
    return PlainTextResponse("a long text " * 1000)


async def smuggle(request):
    smuggled.append(request.url.path)
    return PlainTextResponse("smuggled")


async def count(request):
    return PlainTextResponse(str(len(smuggled)))


async def overloaded(request):
    return PlainTextResponse("later", 503, {"Retry-After": "7"})


app = Starlette(
    routes=[
        WebSocketRoute("/echo", echo),
        Route("/events", events),
        Route("/release", release),
        Route("/size", size, methods=["PUT", "POST"]),
        Route("/request", describe, methods=["GET", "POST"]),
        Route("/long", long_text),
        Route("/smuggled", smuggle, methods=["GET", "POST"]),
        Route("/count", count),
        Route("/overloaded", overloaded),
    ]
)
"""


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service(f"[server]\n{SERVER}{PLUGINS}", {"service": SOURCE}) as service:
        yield service


@pytest.fixture(scope="module", params=sorted(FRONTS))
def front(request: pytest.FixtureRequest, service: Service) -> Iterator[Proxy]:
    with FRONTS[request.param](service.port, server=SERVER + PLUGINS) as front:
        yield front


def open_connection(front: Proxy, client: str = CLIENT) -> HTTPConnection:
    return HTTPConnection(HOST, front.port, timeout=60, source_address=(client, 0))


def send(
    front: Proxy, method: str, path: str, body: bytes = b"", client: str = CLIENT, **headers: str
) -> tuple[HTTPResponse, bytes]:
    connection = open_connection(front, client)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body or None, names)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response, content


def exchange(front: Server, *parts: bytes) -> bytes:
    """Send *parts* on one connection, and return all that is received until it is closed."""
    with socket.create_connection((HOST, front.port), timeout=60, source_address=(CLIENT, 0)) as connection:
        try:
            for part in parts:
                connection.sendall(part)
        except OSError:
            pass  # the proxy has closed the connection
        return receive_all(connection)


def receive_all(connection: socket.socket) -> bytes:
    received = b""
    try:
        while data := connection.recv(65536):
            received += data
    except ConnectionResetError:
        pass
    return received


def statuses(received: bytes) -> list[int]:
    """Return the status codes of the final responses in *received*."""
    return [code for code in map(int, re.findall(rb"HTTP/1\.[01] (\d{3}) ", received)) if code >= 200]


def chunked(*parts: bytes, trailers: Sequence[bytes] = ()) -> bytes:
    body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return body + b"0\r\n" + b"".join(b"%b\r\n" % each for each in trailers) + b"\r\n"


def test_the_service_sees_client_scheme_and_host_and_no_forged_header(front: Proxy) -> None:
    forged = {
        "X_Forwarded_For": "9.9.9.9",
        "X_Forwarded_Proto": "https",
        "X_Forwarded_Host": "evil.example",
        "X_Forwarded_Port": "1",
        "X_Forwarded_User": "root",
        "X_Real_IP": "9.9.9.9",
        "Forwarded": "for=9.9.9.9;host=evil.example",
    }
    received = json.loads(send(front, "GET", "/request", b"", Host="shop.example", **forged)[1])
    assert (received["client"], received["scheme"], received["host"]) == (CLIENT, "http", "shop.example")
    values = " ".join(received["headers"].values())
    assert "9.9.9.9" not in values
    assert "evil" not in values
    assert {"x-forwarded-port", "x-forwarded-user", "x-real-ip", "forwarded"}.isdisjoint(
        name for name, value in received["headers"].items() if value
    )


def test_a_trusted_proxy_in_front_names_the_client(front: Proxy) -> None:
    headers = {"X_Forwarded_For": "9.9.9.9", "X_Forwarded_Proto": "https", "X_Forwarded_Host": "shop.example"}
    received = json.loads(send(front, "GET", "/request", b"", HOST, **headers)[1])
    assert (received["client"], received["scheme"], received["host"]) == ("9.9.9.9", "https", "shop.example")


def test_a_header_named_in_connection_does_not_remove_the_client_address(front: Proxy) -> None:
    received = json.loads(
        send(front, "GET", "/request", Connection="keep-alive, X-Forwarded-For, X-Forwarded-Proto")[1]
    )
    assert received["client"] == CLIENT


def test_websockets_pass(front: Proxy) -> None:
    with connect(f"ws://{HOST}:{front.port}/echo", proxy=None) as websocket:
        websocket.send("there")
        assert websocket.recv(timeout=60) == "ereht"


def test_server_sent_events_arrive_at_once(front: Proxy) -> None:
    connection = open_connection(front)
    connection.request("GET", "/events")
    response = connection.getresponse()
    assert response.readline() == b"data: first\n"
    assert send(front, "GET", "/release")[1] == b"released"
    assert response.read().endswith(b"data: second\n\n")
    connection.close()


@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_an_upload_of_10_mebibytes_passes(front: Proxy, coding: str) -> None:
    connection = open_connection(front)
    body = b"x" * (10 << 20)
    connection.request("PUT", "/size", iter([body]) if coding == "chunked" else body)
    assert json.loads(connection.getresponse().read())["length"] == len(body)
    connection.close()


@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_a_body_over_the_limit_gets_one_413(front: Proxy, coding: str) -> None:
    part = b"x" * (1 << 20)
    if coding == "length":
        head, parts = b"Content-Length: %d\r\n\r\n" % (13 << 20), [part] * 13
    else:
        head, parts = b"Transfer-Encoding: chunked\r\n\r\n", [b"%x\r\n%b\r\n" % (len(part), part)] * 13 + [b"0\r\n\r\n"]
    received = exchange(front, b"PUT /size HTTP/1.1\r\nHost: a\r\n", head, *parts, LAST)
    # The connection may stay open, but no part of the body is taken for a request.
    assert statuses(received) in ([413], [413, 200])


def test_a_head_within_max_header_passes_and_a_larger_one_is_rejected(front: Proxy) -> None:
    assert send(front, "GET", "/request", X_Long="x" * 15000)[0].status == 200
    assert send(front, "GET", "/request", X_Long="x" * 40000)[0].status in (400, 431)


def test_trailers_change_no_header_and_the_connection_stays_usable(front: Proxy) -> None:
    head = b"POST /request HTTP/1.1\r\nHost: a\r\nTrailer: X-Forwarded-For\r\nTransfer-Encoding: chunked\r\n\r\n"
    request = head + chunked(b"hello", b"world", trailers=[b"X-Forwarded-For: 9.9.9.9", b"Host: b", b"X-Sum: 1"])
    received = exchange(front, request, request, LAST)
    assert statuses(received) == [200, 200, 200]
    assert received.count(b'"body":"helloworld"') == 2
    assert received.count(b'"host":"a"') == 6
    assert received.count(f'"client":"{CLIENT}"'.encode()) == 3


@pytest.mark.parametrize("trailer", [b"Connection: close", b"Content-Length: 30", b"Transfer-Encoding: chunked"])
def test_a_trailer_does_not_change_the_framing(front: Proxy, trailer: bytes) -> None:
    head = b"POST /request HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    received = exchange(front, head, chunked(b"hello", trailers=[trailer]), LAST)
    assert statuses(received) in ([200, 200], [400], [400, 200])
    assert statuses(exchange(front, LAST)) == [200]


def test_the_response_to_head_has_a_length_and_no_body(front: Proxy) -> None:
    head = b"HEAD /long HTTP/1.1\r\nHost: a\r\n\r\n"
    received = exchange(front, head, b"GET /count HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert statuses(received) == [200, 200]
    assert b"content-length: 12000" in received.lower()
    assert b"a long text" not in received


def test_a_client_that_expects_100_continue_gets_it(front: Proxy) -> None:
    with socket.create_connection((HOST, front.port), timeout=60, source_address=(CLIENT, 0)) as connection:
        head = (
            b"POST /size HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: close\r\nExpect: 100-continue\r\n\r\n"
        )
        connection.sendall(head)
        assert connection.recv(4096).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"hello")
        received = receive_all(connection)
    assert statuses(received) == [200]
    assert b'"length":5' in received


def test_the_request_id_passes_both_ways_and_is_in_the_log_without_secrets(front: Proxy) -> None:
    headers = {"X_Request_ID": "request-of-a-client", "X_API_Key": "key-of-a-client", "Cookie": "a=session-of-a-client"}
    response, content = send(front, "GET", "/request", b"", **headers)
    assert response.headers["X-Request-ID"] == "request-of-a-client"
    assert json.loads(content)["headers"]["x-request-id"] == "request-of-a-client"
    wait_for("the log", lambda: "request-of-a-client" in front.log())
    assert [secret for secret in ("key-of-a-client", "session-of-a-client") if secret in front.log()] == []


def test_a_response_that_may_hold_a_secret_is_not_compressed(front: Proxy) -> None:
    response, content = send(front, "GET", "/long", Accept_Encoding="gzip", Cookie="session=1")
    assert response.headers["Content-Encoding"] is None
    assert len(content) == 12000


def test_an_overloaded_service_is_heard_each_time(front: Proxy) -> None:
    responses = [send(front, "GET", "/overloaded")[0] for _ in range(8)]
    assert {(each.status, each.headers["Retry-After"]) for each in responses} == {(503, "7")}


OPERATOR_PATHS = (
    "/-/",
    "/%2d/",
    "/%2D/",
    "//-/",
    "/%2f-/",
    "/-%2f",
    "/./-/",
    "/x/../-/",
    "/-/../-/",
    "/-//",
    "/-/?a=b",
    "http://a/-/",
    "/metrics",
    "/%6detrics",
)


def test_the_pages_of_operators_are_out_of_reach_however_the_path_is_written(front: Proxy, service: Service) -> None:
    head = "GET {} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n"
    requests = {path: head.format(path, TOKEN).encode() for path in OPERATOR_PATHS}
    for path in ("/-/", "/%2d/", "http://a/-/", "/metrics", "/%6detrics"):
        assert statuses(exchange(service, requests[path])) == [200], "without a proxy the page is shown"
    found = {path: statuses(exchange(front, request)) for path, request in requests.items()}
    assert {path: codes for path, codes in found.items() if len(codes) != 1 or codes[0] not in (400, 404)} == {}


HIDDEN = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET /request HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
POST = b"POST /request HTTP/1.1\r\nHost: a\r\n"
SMUGGLING = {
    "length and chunked": b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "chunked and length": b"Transfer-Encoding: chunked\r\nContent-Length: %d\r\n\r\n0\r\n\r\n" % (5 + len(HIDDEN))
    + HIDDEN,
    "space before the colon": b"Transfer-Encoding : chunked\r\nContent-Length: %d\r\n\r\n0\r\n\r\n" % (5 + len(HIDDEN))
    + HIDDEN,
    "tab before chunked": b"Transfer-Encoding:\tchunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n" + HIDDEN,
    "vertical tab": b"Transfer-Encoding: \x0bchunked\r\nContent-Length: %d\r\n\r\n0\r\n\r\n" % (5 + len(HIDDEN))
    + HIDDEN,
    "xchunked": b"Transfer-Encoding: xchunked\r\nContent-Length: %d\r\n\r\n0\r\n\r\n" % (5 + len(HIDDEN)) + HIDDEN,
    "chunked twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"
    + HIDDEN,
    "folded": b"Transfer-Encoding:\r\n chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n" + HIDDEN,
    "two lengths": b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN,
    "list of lengths": b"Content-Length: 0, %d\r\n\r\n" % len(HIDDEN) + HIDDEN,
    "signed length": b"Content-Length: +%d\r\n\r\n" % len(HIDDEN) + HIDDEN,
    "hexadecimal length": b"Content-Length: 0x%x\r\n\r\n" % len(HIDDEN) + HIDDEN,
    "negative length": b"Content-Length: -1\r\n\r\n" + HIDDEN,
    "underscore": b"Content_Length: 0\r\nContent-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN,
    "large chunk size": b"Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n" + HIDDEN,
    "chunk size with a sign": b"Transfer-Encoding: chunked\r\n\r\n+0\r\n\r\n" + HIDDEN,
    "chunk extension with a bare LF": b"Transfer-Encoding: chunked\r\n\r\n0;a=\nx\r\n\r\n" + HIDDEN,
    "bare CR": b"X-A: b\rTransfer-Encoding: chunked\r\nContent-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN,
    "NUL": b"X-A: b\0Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN,
    "upgrade with a body": b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: %d\r\n\r\n" % len(HIDDEN)
    + HIDDEN,
}


@pytest.mark.parametrize("sample", sorted(SMUGGLING))
def test_no_request_is_smuggled(front: Proxy, sample: str) -> None:
    before = int(send(front, "GET", "/count")[1])
    received = exchange(front, POST, SMUGGLING[sample], LAST)
    seen = int(send(front, "GET", "/count")[1]) - before
    # What reaches the service has a response on the same connection, or else it would be that of another client.
    assert received.count(b"\r\n\r\nsmuggled") == seen
    assert json.loads(send(front, "GET", "/request", X_Mine="1")[1])["headers"]["x-mine"] == "1"
