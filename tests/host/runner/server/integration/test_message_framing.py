"""Message framing by RFC 9112: ambiguous requests are rejected."""

from __future__ import annotations

import pytest

from tests.host.runner.server.apps import GET, LAST
from tests.host.runner.server.raw_client import serving
from tests.host.runner.server.request_probe import echo_request, received_request, rejection

pytestmark = pytest.mark.anyio

CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "fields",
    [
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: gzip",
        b"Transfer-Encoding: identity",
        b"Transfer-Encoding: chunked, identity",
        b"Transfer-Encoding: chunked, chunked",
        b"Transfer-Encoding: ,chunked",
        b"Transfer-Encoding: chunked,",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: chunked;a=b",
        b'Transfer-Encoding: "chunked"',
        b"Transfer-Encoding: chun ked",
        b"Transfer-Encoding: chunked\x0b",
        b"Transfer-Encoding:",
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding\t: chunked",
        b" Transfer-Encoding: chunked",
        b"Transfer-Encoding:\r\n chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Content-Length: 5\r\nTransfer-Encoding: gzip, chunked",
        b"Content-Length: 5\r\nContent-Length: 5",
        b"Content-Length: 5\r\nContent-Length: 6",
        b"Content-Length: 5, 5",
        b"Content-Length: +5",
        b"Content-Length: -5",
        b"Content-Length: 5 5",
        b"Content-Length: 0x5",
        b"Content-Length: 5_0",
        b"Content-Length: ",
        b"Content-Length: 99999999999999999999999999",
        b"Content-Length : 5",
        b"X: a\r\n b",
        b"X: a\r\n\tb",
        b"X : a",
        b"X: a\rb",
        b"X: a\nY: b",
        b"X: a\0b",
        b"X\0: a",
        b": a",
        b"X",
    ],
)
async def test_ambiguous_message_framing_is_rejected(fields: bytes) -> None:
    request = b"POST / HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    assert (await rejection(request))[0] in (400, 501)


@pytest.mark.parametrize("version", [b"0.9", b"1.2", b"2.0", b"3.0", b"9.9", b"1.10", b"1", b"1.", b""])
async def test_other_http_versions_are_rejected(version: bytes) -> None:
    assert (await rejection(b"GET / HTTP/%b\r\nHost: x\r\n\r\n" % version))[0] in (400, 505)


async def test_a_transfer_coding_in_http_1_0_is_rejected() -> None:
    request = CHUNKED.replace(b"1.1", b"1.0") + b"5\r\nhello\r\n0\r\n\r\n"
    assert await rejection(request) == (400, "HTTP/1.0 does not support transfer codings")


@pytest.mark.parametrize(
    "chunks",
    [
        b"0x5\r\nhello",
        b"+5\r\nhello",
        b"-5\r\nhello",
        b" 5\r\nhello",
        b"5 \r\nhello",
        b"5_\r\nhello",
        b"\r\nhello",
        b"5\nhello",
        b"5;a\nhello",
        b"5\rhello",
        b"10000000000000005\r\nhello",
        b"5\r\nhello!",
        b"5\r\nhell",
        b"g\r\nhello",
    ],
)
async def test_ambiguous_chunks_are_rejected(chunks: bytes) -> None:
    assert (await rejection(CHUNKED + chunks + b"\r\n0\r\n\r\n"))[0] == 400


UPGRADES = [b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings", b"Upgrade: websocket, h2c\r\nConnection: upgrade"]


@pytest.mark.parametrize("upgrade", UPGRADES)
@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 32\r\n\r\nGET /h HTTP/1.1\r\nHost: x\r\n\r\nabcd",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"\r\n",
    ],
)
async def test_an_unsupported_upgrade_is_served_as_http_1_1_with_its_body(
    upgrade: bytes, apart: bool, body: bytes
) -> None:
    request = b"POST /u HTTP/1.1\r\nHost: x\r\n" + upgrade + b"\r\n" + body
    parts = [request[at : at + 1] for at in range(len(request))] if apart else [request]
    async with serving(echo_request) as wire, wire.client() as client:
        for part in parts:
            await client.send(part)
        first = await client.receive(b"}")
        await client.send(request * 2 + LAST % b"/next")
        rest = await client.rest()
    assert first.count(b"HTTP/1.1 200 OK") == 1
    assert (first + rest).count(b"\"'/u'\"") == 3
    assert rest.count(b"HTTP/1.1 200 OK") == 3
    assert b"\"'/h'\"" not in first + rest


async def test_upgrade_is_ignored_in_http_1_0() -> None:
    found = await received_request(
        b"GET /old HTTP/1.0\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    assert found["path"] == "'/old'"


async def test_a_pipelined_websocket_handshake_is_rejected_after_the_previous_response() -> None:
    handshake = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    async with serving(echo_request) as wire:
        response_bytes = await wire.request(GET % b"/first" + handshake)
    assert response_bytes.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in response_bytes
