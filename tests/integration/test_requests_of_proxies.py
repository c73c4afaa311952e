"""What nginx, Caddy and HAProxy send to an instance, byte by byte."""

from __future__ import annotations

import socketserver
from collections.abc import Iterator
from threading import Thread

import pytest

from tests.integration.test_behind_proxies import CLIENT, exchange, send, statuses
from tests.proxies import FRONTS, NginxFront, Proxy

pytestmark = pytest.mark.needs("nginx", "caddy", "haproxy")

SERVER = 'trusted_proxies = ["127.0.0.1"]\n'


class Recorder(socketserver.StreamRequestHandler):
    """Records each request and responds with 200; the connection stays open."""

    requests: list[list[bytes]] = []
    peers: list[int] = []

    def handle(self) -> None:
        while head := self._head():
            body = next((int(line[15:]) for line in head if line.lower().startswith(b"content-length:")), 0)
            self.rfile.read(body)
            if not head[0].startswith(b"GET /health"):
                self.requests.append(head)
                self.peers.append(self.client_address[1])
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    def _head(self) -> list[bytes]:
        lines: list[bytes] = []
        try:
            while line := self.rfile.readline().rstrip():
                lines.append(line)
        except ConnectionResetError:  # the proxy ends
            return []
        return lines


class RecordingServer(socketserver.ThreadingTCPServer):
    """A server in threads that end with it."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with RecordingServer(("127.0.0.1", 0), Recorder) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture(scope="module", params=sorted(FRONTS))
def front(request: pytest.FixtureRequest, port: int) -> Iterator[Proxy]:
    with FRONTS[request.param](port, server=SERVER) as front:
        yield front


@pytest.fixture(autouse=True)
def empty() -> None:
    Recorder.requests.clear()
    Recorder.peers.clear()


def fields(front: Proxy, **headers: str) -> dict[str, str]:
    """Return the fields with which a request with *headers* arrives, without those whose value is empty."""
    assert send(front, "GET", "/a", b"", **headers)[0].status == 200
    (head,) = Recorder.requests
    pairs = [line.decode().split(":", 1) for line in head[1:]]
    assert len({name.lower() for name, _ in pairs}) == len(pairs), "no field is sent twice"
    return {name.lower(): value.strip() for name, value in pairs if value.strip()}


def test_only_websockets_are_asked_for_as_upgrade(front: Proxy) -> None:
    found = fields(front, Connection="Upgrade, HTTP2-Settings", Upgrade="h2c", HTTP2_Settings="AAMAAABkAAQAAP__")
    assert "upgrade" not in found
    assert "upgrade" not in found.get("connection", "").lower()
    Recorder.requests.clear()
    key = {"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec_WebSocket_Version": "13"}
    found = fields(front, Connection="Upgrade", Upgrade="websocket", **key)
    assert (found["connection"].lower(), found["upgrade"]) == ("upgrade", "websocket")


def test_the_fields_of_the_proxy_are_these(front: Proxy) -> None:
    found = fields(front, Host="shop.example", Forwarded="for=9.9.9.9", X_Forwarded_For="9.9.9.9", X_Request_ID="a-1")
    expected = {
        "host": "shop.example",
        "x-forwarded-for": CLIENT,
        "x-forwarded-proto": "http",
        "x-forwarded-host": "shop.example",
        "x-request-id": "a-1",
    }
    assert {name: found.get(name) for name in expected} == expected
    assert {"forwarded", "x-real-ip", "te", "keep-alive", "proxy-connection"}.isdisjoint(found)


def test_fields_that_a_client_names_in_connection_do_not_leave_the_proxy_as_its_own(front: Proxy) -> None:
    found = fields(front, Connection="close, X-Forwarded-For, X-Forwarded-Host", X_Forwarded_For="9.9.9.9")
    assert found["x-forwarded-for"] == CLIENT
    assert found["x-forwarded-host"].startswith("127.0.0.1")
    assert found.get("connection", "keep-alive").lower() != "close"


def test_requests_of_one_client_share_a_connection(front: Proxy) -> None:
    request = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
    received = exchange(front, request * 19, request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert statuses(received) == [200] * 20
    assert len(set(Recorder.peers)) <= 2


def test_field_names_with_an_underscore_are_removed(front: Proxy) -> None:
    received = exchange(front, b"GET /a HTTP/1.1\r\nHost: a\r\nX_Custom: a\r\nConnection: close\r\n\r\n")
    assert statuses(received) == [200]
    names = [line.partition(b":")[0].lower() for line in Recorder.requests[0][1:]]
    assert b"host" in names
    assert b"x_custom" not in names


def test_a_path_is_sent_as_it_is_written(front: Proxy) -> None:
    paths = ["/a%2Fb", "/a//b", "/a/./b", "/%7Ea", "/a?b=%2F/../", "/a;b=c"]
    for path in paths:
        assert send(front, "GET", path)[0].status == 200
    assert [head[0].split()[1].decode() for head in Recorder.requests] == paths
    assert isinstance(front, NginxFront) or len(Recorder.requests) == len(paths)
