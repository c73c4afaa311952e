from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvicorn
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from scalekit.runner.server import request_head_cache
from scalekit.runner.server.protocol import HttpProtocol
from scalekit.runner.server.request_head_cache import RequestHeadCache
from tests.host.runner.server.bare_host import ProtocolFactory
from tests.host.runner.server.raw_client import LIMITS, Client, serving

pytestmark = pytest.mark.anyio

HEAD = b"GET /a%20b?c=d HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer e\r\nX-Twice: 1\r\nX-Twice: 2\r\n\r\n"


class Parsing(HttpProtocol):
    """A connection that records parsed heads."""

    parsed: list[bytes]

    def parse(self, data: bytes) -> None:
        Parsing.parsed.append(data)
        super().parse(data)


def connections() -> ProtocolFactory:
    Parsing.parsed = []
    return ProtocolFactory(LIMITS, Parsing)


async def echo_request(scope: Scope, receive: Receive, send: Send) -> None:
    """Respond with the scope of the request, and its body unless the path asks for an early response."""
    body, more = b"", scope["path"] != "/early"
    if scope["path"] == "/slow":
        for _ in range(10):
            await asyncio.sleep(0)
    while more:
        message = await receive()
        body, more = body + message["body"], message.get("more_body", False)
    shown = {name: value for name, value in scope.items() if name not in ("client", "state")}
    text = repr((sorted(shown.items()), body)).encode()
    scope["headers"].append((b"mine", b"alone"))
    scope["asgi"]["mine"] = scope["path"] = "alone"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(text))]})
    await send({"type": "http.response.body", "body": text})


async def test_a_repeated_head_is_not_parsed_again_and_has_the_same_scope() -> None:
    async with serving(echo_request, connections()) as wire, wire.client() as client:
        responses = []
        for _ in range(5):
            await client.send(HEAD)
            responses.append(await client.receive(b"b'')"))
        assert len(set(responses)) == 1
        assert b"alone" not in responses[0]
        assert Parsing.parsed == [HEAD] * 2, "a head that arrived once is not cached"
        assert wire.state.total_requests == 5


async def test_client_and_server_addresses_are_those_of_each_connection() -> None:
    async def client_of(scope: Scope, receive: Receive, send: Send) -> None:
        text = b"%d" % scope["client"][1]
        scope["state"]["mine"] = "alone"
        assert scope["state"] == {"mine": "alone"}
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(text))]})
        await send({"type": "http.response.body", "body": text})

    async with serving(client_of, connections()) as wire:
        for _ in range(2):
            async with wire.client() as client:
                for _ in range(3):
                    await client.send(HEAD)
                    await client.receive(b"%d" % client.socket.getsockname()[1])
    assert Parsing.parsed == [HEAD] * 2


async def responses_of(client: Client, number: int) -> bytes:
    """Return *number* responses of :func:`echo_request` to requests without a body."""
    received = b""
    while received.count(b"b'')") < number:
        received += await client.receive(b"b'')")
    return received


@pytest.mark.parametrize(
    "sent",
    [
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"y" * request_head_cache.MAX_BYTES + b"\r\n\r\n",
    ],
)
async def test_requests_that_are_more_than_a_short_head_are_parsed_each_time(sent: bytes) -> None:
    made = connections()
    async with serving(echo_request, made) as wire, wire.client() as client:
        for _ in range(3):
            await client.send(sent)
            await responses_of(client, max(1, sent.count(b"GET")))
    assert len(made.head_cache) == 0
    assert Parsing.parsed == [sent] * 3


async def test_a_pipelined_cached_head_waits_for_the_previous_response() -> None:
    async with serving(echo_request, connections()) as wire, wire.client() as client:
        for _ in range(2):
            await client.send(HEAD)
            await client.receive(b"b'')")
        await client.send(b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(HEAD))
        await client.send(HEAD)  # which is that body
        assert (await client.receive(b"')")).endswith(b"%a)" % HEAD)
        await client.send(HEAD + HEAD)
        await responses_of(client, 2)


async def test_different_and_long_heads_are_not_cached() -> None:
    made = connections()
    async with serving(echo_request, made) as wire, wire.client() as client:
        for number in range(4):
            await client.send(b"GET / HTTP/1.1\r\nHost: x\r\nTraceparent: %d\r\n\r\n" % number)
            await responses_of(client, 1)
        await client.send(b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"y" * request_head_cache.MAX_BYTES + b"\r\n\r\n")
        await responses_of(client, 1)
        (connection,) = wire.state.connections
        assert vars(connection)["_last_segment"] == b""
    assert len(made.head_cache) == 0


def test_the_cache_is_bounded_and_evicts_the_oldest_head() -> None:
    known = RequestHeadCache(2)
    heads = [b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(3)]
    for head in heads:
        known.store(head, {"http_version": "1.1", "headers": []})
    assert [known.get(head) is not None for head in heads] == [False, True, True]
    assert len(known) == 2


EARLY = b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(HEAD)
SLOW = b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"
PIECES = st.sampled_from(
    [
        HEAD,
        EARLY,
        SLOW,
        b"GET / HTTP/1.1\r\nHost: y\r\n\r\n",
        HEAD[:20],
        HEAD[20:],
        HEAD[20:] + HEAD,
        b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n",
        b"abc",
        b"POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"3\r\nabc\r\n0\r\n\r\n",
        b"\r\n",
        b"nonsense\r\n\r\n",
    ]
)


class Written:
    """A transport that records writes."""

    def __init__(self) -> None:
        self.data = b""
        self.closed = False

    def write(self, data: bytes) -> None:
        self.data += b"" if self.closed else data

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: object = None) -> object:
        return {"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)}.get(name, default)

    def pause_reading(self) -> None:
        """Do nothing: all input is available."""

    resume_reading = pause_reading


async def converse(pieces: list[bytes], max_heads: int) -> tuple[bytes, bool, int]:
    """Return the output of a connection for *pieces*, whether it has closed, and the number of cached heads."""
    config = uvicorn.Config(echo_request, interface="asgi3", proxy_headers=False, access_log=False, log_config=None)
    made = connections()
    made.head_cache = RequestHeadCache(max_heads)
    transport: Any = Written()
    connection = made(config, ServerState(), {})
    connection.connection_made(transport)
    for piece in pieces:
        if transport.closed:
            break
        connection.data_received(piece)
        for _ in range(2):
            await asyncio.sleep(0)
    for _ in range(100):
        await asyncio.sleep(0)
    connection.connection_lost(None)
    for _ in range(20):
        await asyncio.sleep(0)
    return transport.data, transport.closed, len(made.head_cache)


@given(st.lists(PIECES, min_size=2, max_size=8))
@example([HEAD, HEAD, HEAD[:20], HEAD, HEAD[20:]])
@example([HEAD, HEAD[:20], HEAD[20:], HEAD[20:]])
@example([HEAD, HEAD, EARLY, HEAD, HEAD])
@example([HEAD, HEAD, SLOW, HEAD])
@example([HEAD, HEAD, b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n", b"abc", HEAD])
def test_responses_are_the_same_with_and_without_the_cache(
    pieces: list[bytes],
) -> None:
    knowing, ignorant = (asyncio.run(converse(pieces, most)) for most in (request_head_cache.MAX_HEADS, 0))
    assert knowing[:2] == ignorant[:2]
    assert ignorant[2] == 0
    if pieces[:2] == [HEAD, HEAD]:
        assert knowing[2] >= 1
