"""Request targets and hosts by RFC 9112."""

from __future__ import annotations

import pytest
from starlette.types import Receive, Scope, Send

from scalekit.http.allowed_hosts import AllowedHosts
from tests.host.asgi import behind
from tests.host.runner.server.apps import GET, echo
from tests.host.runner.server.raw_client import serving
from tests.host.runner.server.request_probe import echo_request, received_request, rejection

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (b"X-A: b ", "b"),
        (b"X-A: b\t", "b"),
        (b"X-A:\t b c \t ", "b c"),
        (b"X-A:b", "b"),
        (b"X-A:", ""),
        (b"X-A: \t ", ""),
        (b"X-A: \xe4 ", "\xe4"),
    ],
)
async def test_whitespace_around_a_field_value_is_removed(line: bytes, value: str) -> None:
    found = await received_request(b"GET / HTTP/1.1\r\nHost: x\r\n" + line + b"\r\nConnection: close\r\n\r\n")
    assert ["x-a", value] in found["headers"]


async def test_whitespace_around_framing_fields_is_ignored() -> None:
    request = b"POST / HTTP/1.1\r\nHost: x \r\nConnection: close \r\nContent-Length: 5 \t\r\n\r\nhello"
    assert (await received_request(request))["body"] == "hello"
    request = (
        b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: Chunked \r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    )
    assert (await received_request(request))["body"] == "hello"


VALID_HOSTS = [
    b"x",
    b"shop.example",
    b"shop.example:8080",
    b"shop.example:",
    b"SHOP.example.",
    b"under_score",
    b"127.0.0.1:80",
    b"[::1]",
    b"[2001:db8::1]:443",
    b"%41.example",
    b"a!$&'()*+;=~-",
]
INVALID_HOSTS = [
    b"",
    b" ",
    b"a b",
    b"a,b",
    b"a/b",
    b"a?b",
    b"a#b",
    b"a@b",
    b"user:password@b",
    b"a:b",
    b"a:80:80",
    b"a:123456",
    b":80",
    b"http://a",
    b"[::1",
    b"::1",
    b"[]",
    b"[::::]",
    b"[1.2.3.4]",
    b"[::1]a",
    b"a\\b",
    b'a"b',
    b"<a>",
    b"%zz",
    b"%4",
    b"\xe4",
    b"a\tb",
]


@pytest.mark.parametrize("host", VALID_HOSTS)
async def test_a_host_with_or_without_a_port_is_served(host: bytes) -> None:
    found = await received_request(b"GET / HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % host)
    assert ["host", host.decode()] in found["headers"]


@pytest.mark.parametrize("host", INVALID_HOSTS)
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize("before", [b"", GET % b"/before"])
async def test_an_invalid_host_is_rejected(host: bytes, version: bytes, before: bytes) -> None:
    request = b"GET / HTTP/%b\r\nHost: %b\r\n\r\n" % (version, host)
    if before:
        async with serving(echo) as wire, wire.client() as client:
            await client.send(before)
            await client.receive(b"\r\n\r\n")
            await client.send(request)
            assert (await client.rest()).startswith(b"HTTP/1.1 400 ")
    else:
        assert await rejection(request) == (400, "the host of the request is not valid")


@pytest.mark.parametrize("fields", [b"", b"Host: a\r\nHost: a\r\n", b"Host: a\r\nX: y\r\nhost: b\r\n"])
async def test_zero_or_several_hosts_are_rejected(fields: bytes) -> None:
    assert await rejection(b"GET / HTTP/1.1\r\n" + fields + b"\r\n") == (400, "exactly one Host header is required")
    if fields:
        assert (await rejection(b"GET / HTTP/1.0\r\n" + fields + b"\r\n"))[0] == 400


@pytest.mark.parametrize(
    ("target", "path", "raw", "query", "host"),
    [
        (b"http://other.example/a%20b?c=d", "/a b", "/a%20b", "c=d", "other.example"),
        (b"http://other.example:8080/", "/", "/", "", "other.example:8080"),
        (b"HTTPS://Other.example/a", "/a", "/a", "", "Other.example"),
        (b"http://other.example", "/", "/", "", "other.example"),
        (b"http://other.example?c", "/", "/", "c", "other.example"),
        (b"http://[::1]:80//a", "//a", "//a", "", "[::1]:80"),
    ],
)
async def test_the_host_of_an_absolute_target_replaces_the_header(
    target: bytes, path: str, raw: str, query: str, host: str
) -> None:
    found = await received_request(b"GET %b HTTP/1.1\r\nX-A: b\r\nHost: x\r\nConnection: close\r\n\r\n" % target)
    assert (found["path"], found["raw_path"], found["query_string"]) == (
        repr(path),
        repr(raw.encode()),
        repr(query.encode()),
    )
    assert [field for field in found["headers"] if field[0] == "host"] == [["host", host]]
    assert ["x-a", "b"] in found["headers"]


async def test_an_absolute_target_is_served_to_http_1_0_without_a_host() -> None:
    found = await received_request(b"GET http://other.example/a HTTP/1.0\r\n\r\n")
    assert (found["path"], found["headers"]) == ("'/a'", [["host", "other.example"]])


@pytest.mark.parametrize(
    "line",
    [
        b"GET http:///a",
        b"GET http://",
        b"GET http://user@other/",
        b"GET http://user:password@other/",
        b"GET http://a,b/",
        b"GET http://a:b/",
        b"GET ftp://other/",
        b"GET file:///etc/passwd",
        b"GET http:/a",
        b"GET *",
        b"GET a",
        b"GET other.example:80",
        b"CONNECT other.example:80",
        b"GET /a#b",
        b"GET http://other/a#b",
        b"GET http://other#b",
    ],
)
async def test_an_invalid_target_is_rejected(line: bytes) -> None:
    status, detail = await rejection(line + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert status == 400
    assert "Traceback" not in detail


async def test_options_accepts_the_asterisk_form() -> None:
    found = await received_request(b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert found["raw_path"] == "b'*'"


@pytest.mark.parametrize(("target", "status"), [(b"http://shop.example/", 200), (b"http://other.example/", 421)])
async def test_allowed_hosts_apply_to_the_host_of_the_target(target: bytes, status: int) -> None:
    async with serving(behind(echo_request, AllowedHosts(["shop.example"]))) as wire:
        response_bytes = await wire.request(
            b"GET %b HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % (target, b"shop.example")
        )
        assert response_bytes.startswith(b"HTTP/1.1 %d " % status)
        response_bytes = await wire.request(
            b"GET %b HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % (target, b"other.example")
        )
        assert response_bytes.startswith(b"HTTP/1.1 %d " % status)


async def test_allowed_hosts_apply_to_the_target_of_a_websocket() -> None:
    scopes: list[Scope] = []

    async def closing(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await send({"type": "websocket.close"})

    fields = b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    upgrade = b"Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    async with serving(closing) as wire:
        response_bytes = await wire.request(b"GET http://other.example/a?b HTTP/1.1\r\n" + upgrade + fields + b"\r\n")
    assert response_bytes.startswith(b"HTTP/1.1 403 ")
    assert [(scope["type"], scope["path"], scope["query_string"]) for scope in scopes] == [("websocket", "/a", b"b")]
    assert [value for name, value in scopes[0]["headers"] if name == b"host"] == [b"other.example"]
