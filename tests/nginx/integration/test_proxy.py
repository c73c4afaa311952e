"""Requests through nginx with the configuration that `scalekit nginx config` writes."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse

import pytest
from websockets.sync.client import connect

from tests.nginx.nginx_proxy import NginxProxy, upstreams
from tests.processes import HOST
from tests.service import Service

pytestmark = pytest.mark.needs("nginx")

SOURCE = """\
import asyncio
import json

from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute

released = asyncio.Event()


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
    return PlainTextResponse("released")


async def size(request):
    length = 0
    async for part in request.stream():
        length += len(part)
    return JSONResponse({"length": length})


async def describe(request):
    return JSONResponse(
        {
            "client": request.client.host,
            "scheme": request.url.scheme,
            "host": request.headers["host"],
            "headers": [name for name in request.headers if "forwarded" in name],
        }
    )


async def long_text(request):
    return PlainTextResponse("a long text " * 1000)


app = Starlette(
    routes=[
        WebSocketRoute("/echo", echo),
        Route("/events", events),
        Route("/release", release),
        Route("/size", size, methods=["PUT", "POST"]),
        Route("/request", describe),
        Route("/long", long_text),
    ]
)
"""
SERVER = 'max_body = "64MiB"\nmax_header = "8KiB"\ntrusted_proxies = ["127.0.0.1"]\n'


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service(f"[server]\n{SERVER}", {"service": SOURCE}) as service:
        yield service


@pytest.fixture(scope="module")
def front(service: Service) -> Iterator[NginxProxy]:
    static = 'static = {"/static/" = "static"}'
    with NginxProxy({"plugins.nginx": f"{upstreams(service.port)}\n{static}", "server": SERVER}) as front:
        folder = front.box.directory / "static"
        folder.mkdir()
        (folder / "style.css").write_text("body { color: red }\n" * 200)
        yield front


def send(front: NginxProxy, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection(HOST, front.port, timeout=60)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body or None, names)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response, content


def test_websockets_are_proxied(front: NginxProxy) -> None:
    with connect(f"ws://{HOST}:{front.port}/echo", proxy=None) as socket:
        socket.send("there")
        assert socket.recv(timeout=60) == "ereht"


def test_server_sent_events_are_not_buffered(front: NginxProxy) -> None:
    connection = HTTPConnection(HOST, front.port, timeout=60)
    connection.request("GET", "/events")
    response = connection.getresponse()
    assert response.readline() == b"data: first\n"
    assert send(front, "GET", "/release")[1] == b"released"
    assert response.read().endswith(b"data: second\n\n")
    connection.close()


def test_an_upload_of_50_megabytes_is_proxied_and_one_over_max_body_is_rejected(front: NginxProxy) -> None:
    response, content = send(front, "PUT", "/size", b"x" * 50_000_000)
    assert (response.status, json.loads(content)) == (200, {"length": 50_000_000})
    assert send(front, "PUT", "/size", b"x", Content_Length="1")[0].status == 200
    connection = HTTPConnection(HOST, front.port, timeout=60)
    connection.putrequest("PUT", "/size")
    connection.putheader("Content-Length", str(64 * 2**20 + 1))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_a_request_head_over_max_header_is_rejected(front: NginxProxy) -> None:
    assert send(front, "GET", "/request", X_Long="x" * 4000)[0].status == 200
    assert send(front, "GET", "/request", X_Long="x" * 9000)[0].status in (400, 431)


def test_nginx_sets_the_client_address_and_removes_forged_forwarded_headers(front: NginxProxy) -> None:
    forged = {"X_Forwarded_Host": "evil.example", "Forwarded": "for=9.9.9.9;host=evil.example"}
    received = json.loads(send(front, "GET", "/request", b"", Host="shop.example", **forged)[1])
    assert (received["client"], received["scheme"]) == (HOST, "http")
    assert "forwarded" not in received["headers"]
    # This client is a trusted proxy itself, so nginx forwards the client address that it names.
    behind = json.loads(send(front, "GET", "/request", X_Forwarded_For="9.9.9.9", X_Forwarded_Proto="https")[1])
    assert (behind["client"], behind["scheme"]) == ("9.9.9.9", "https")


def test_nginx_serves_static_files_with_cache_control(front: NginxProxy) -> None:
    response, content = send(front, "GET", "/static/style.css", Accept_Encoding="gzip")
    assert response.status == 200
    cache_control = response.msg.get_all("Cache-Control") or []
    assert cache_control == ["max-age=2592000", "public, no-transform"]
    assert response.headers["Content-Type"] == "text/css"
    assert gzip.decompress(content).startswith(b"body { color: red }")


def test_responses_of_the_service_are_left_to_the_plugin_compression(front: NginxProxy) -> None:
    response, content = send(front, "GET", "/long", Accept_Encoding="gzip")
    assert response.headers["Content-Encoding"] is None
    assert len(content) == 12000


def test_without_trusted_proxies_the_forwarded_headers_are_those_of_nginx() -> None:
    with (
        Service("", {"service": SOURCE}) as service,
        NginxProxy({"plugins.nginx": upstreams(service.port), "server": ""}) as front,
    ):
        received = json.loads(send(front, "GET", "/request", X_Forwarded_For="9.9.9.9", Forwarded="for=9.9.9.9")[1])
    assert received["headers"] == ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"]
    assert received["client"] == HOST


def test_root_path_is_removed_and_other_paths_are_not_served() -> None:
    server = 'root_path = "/shop"\n'
    with (
        Service(f"[server]\n{server}", {"service": SOURCE}) as service,
        NginxProxy({"plugins.nginx": upstreams(service.port), "server": server}) as front,
    ):
        found = {path: send(front, "GET", path)[0].status for path in ("/shop/request?a=b", "/request", "/shop/-/")}
        assert found == {"/shop/request?a=b": 200, "/request": 404, "/shop/-/": 404}


def test_forwarded_selects_the_header_of_rfc_7239() -> None:
    server = 'trusted_proxies = ["127.0.0.1"]\nforwarded_headers = "forwarded"\n'
    with (
        Service(f"[server]\n{server}", {"service": SOURCE}) as service,
        NginxProxy({"plugins.nginx": upstreams(service.port), "server": server}) as front,
    ):
        received = json.loads(send(front, "GET", "/request", X_Forwarded_For="9.9.9.9", Forwarded="for=9.9.9.8")[1])
    assert received["headers"] == ["forwarded"]
    assert received["client"] == "9.9.9.8"
