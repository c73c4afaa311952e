"""Bytes on a connection: any input gets a response or a closed connection, and the next client is served."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from tests.fuzz.test_cache_fields import numbers
from tests.fuzz.test_host_fields import entries
from tests.fuzz.words import fuzzed, values
from tests.host.runner.server.raw_client import AppServer, serving

PLAIN = b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
METHODS = st.sampled_from([b"GET", b"POST", b"HEAD", b"OPTIONS", b"CONNECT", b"TRACE", b"PRI", b"BREW", b"get", b""])
TARGETS = st.sampled_from(
    [b"/", b"*", b"x:80", b"http://x/", b"http://[", b"//", b"?", b"#", b"/%00", b"/\xff"]
) | values("/", "http://", "x", ":", "[", "]", "%", "?", "#", "@", "\xff", "..")
VERSIONS = st.sampled_from([b"HTTP/1.1"] * 4 + [b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/1.2", b"", b"ICY/1.0"])
WEBSOCKET = b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
FIELDS = {
    b"Host": entries,
    b"Content-Length": numbers,
    b"Transfer-Encoding": values("chunked", "gzip", ",", " "),
    b"Upgrade": values("websocket", "h2c", "TLS/1.0", ","),
    b"Connection": values("close", "upgrade", "keep-alive", ",", " ", "te"),
    b"Expect": values("100-continue", " ", ","),
    b"Sec-WebSocket-Key": values("dGhlIHNhbXBsZSBub25jZQ==", "="),
    b"Sec-WebSocket-Version": numbers | st.just(b"13"),
    b"Sec-WebSocket-Protocol": values("bearer", ",", " ", "\xff"),
    b"Sec-WebSocket-Extensions": values("permessage-deflate", ";", "client_max_window_bits", "=", "99", ","),
    b"Trailer": values("x", ","),
}
one_field = st.sampled_from(sorted(FIELDS)).flatmap(lambda name: FIELDS[name].map(lambda value: name + b": " + value))
fields = st.lists(one_field | values(":", " ", "\t", "X", "\0", "\xff"), max_size=4)
rests = values("0", "1", "\r\n", ";", "a", "=", '"', "ffffffffffffffffff", "GET / HTTP/1.1\r\n\r\n", "\0", "\xff")


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the body and respond."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1000})
        return
    more = True
    while more:
        more = (await receive()).get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def conversation(wire: AppServer, sent: bytes) -> bytes:
    async with wire.client() as client:
        await client.send(sent)
        client.socket.shutdown(socket.SHUT_WR)
        return await client.rest()


@given(METHODS, TARGETS, VERSIONS, fields, rests)
@fuzzed
@example(b"CONNECT", b"/", b"HTTP/1.1", [b"Host: x"], b"")
@example(b"CONNECT", b"x:80", b"HTTP/1.1", [b"Host: x", b"Upgrade: h2c", b"Connection: upgrade"], b"x")
@example(b"PRI", b"*", b"HTTP/2.0", [], b"SM\r\n\r\n")
@example(b"GET", b"/", b"HTTP/1.1", [b"Host: x", WEBSOCKET + b"dGhlIHNhbXBsZSBub25jZQ=="], b"")
@example(b"GET", b"/", b"HTTP/1.1", [b"Host: x", WEBSOCKET + b"\xff"], b"\x81\xff\xff")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_no_bytes_are_a_failure(method: bytes, target: bytes, version: bytes, found: list[bytes], rest: bytes) -> None:
    async def ask() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: failures.append(context))
        async with serving(app) as wire:
            head = b"\r\n".join([method + b" " + target + b" " + version, *found, b"", b""])
            response = await conversation(wire, head + rest)
            assert b"HTTP/1.1 500 " not in response, response
            assert (await wire.request(PLAIN)).endswith(b"ok"), "the next client is served"

    failures: list[dict[str, Any]] = []
    asyncio.run(ask())
    assert not failures
