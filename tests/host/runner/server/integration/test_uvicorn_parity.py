"""The same requests to uvicorn's connection and to HttpProtocol get the same bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import pairwise

import pytest
import uvloop
from hypothesis import event, given, settings
from hypothesis import strategies as st
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from scalekit.runner.server.protocol import HttpProtocol
from tests.host.runner.server.bare_host import ProtocolFactory
from tests.host.runner.server.raw_client import LIMIT, LIMITS, AppServer, Client, serving

LAST = b"GET /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
SCRIPTS: dict[str, list[Message]] = {
    "/empty": [{"status": 204}, {}],
    "/length": [{"status": 200, "headers": [(b"Content-Length", b"3"), (b"x-a", b"b")]}, {"body": b"abc"}],
    "/parts": [
        {"status": 201, "headers": [(b"content-length", b"6")]},
        {"body": b"abc", "more_body": True},
        {"body": b"def"},
    ],
    "/chunks": [{"status": 200}, {"body": b"a", "more_body": True}, {"body": b"", "more_body": True}, {"body": b"b"}],
    "/large": [{"status": 200}, {"body": b"l" * 40_000, "more_body": True}, {"body": b"m" * 70_000}],
    "/both": [
        {"status": 200, "headers": [(b"content-length", b"3"), (b"transfer-encoding", b"chunked")]},
        {"body": b"abc"},
    ],
    "/both-reversed": [
        {"status": 200, "headers": [(b"transfer-encoding", b"Chunked"), (b"content-length", b"7")]},
        {"body": b"abc"},
    ],
    "/twice": [
        {"status": 200, "headers": [(b"content-length", b"3"), (b"content-length", b"4")]},
        {"body": b"abc"},
    ],
    "/last": [{"status": 200, "headers": [(b"connection", b"close"), (b"content-length", b"0")]}, {}],
    "/not-modified": [{"status": 304, "headers": [(b"etag", b'"e"')]}, {}],
    "/not-modified-with-body": [{"status": 304}, {"body": b"x"}],
    "/unknown-status": [{"status": 299, "headers": []}, {"body": b"x"}],
    "/no-status": [{"status": 999}, {"body": b"x"}],
    "/short": [{"status": 200, "headers": [(b"content-length", b"5")]}, {"body": b"abc"}],
    "/long": [{"status": 200, "headers": [(b"content-length", b"2")]}, {"body": b"abc"}],
    "/no-length": [{"status": 200, "headers": [(b"content-length", b"many")]}, {"body": b"abc"}],
    "/value": [{"status": 200, "headers": [(b"x-a", b"b\r\nc: d")]}, {"body": b"abc"}],
    "/name": [{"status": 200, "headers": [(b"x a", b"b")]}, {"body": b"abc"}],
    "/unfinished": [{"status": 200}, {"body": b"abc", "more_body": True}],
    "/silent": [],
}
GOING_ON = [
    "/both-reversed",
    "/empty",
    "/length",
    "/parts",
    "/chunks",
    "/large",
    "/not-modified",
    "/unknown-status",
    "/echo",
    "/late",
]
PATHS = st.sampled_from(GOING_ON) | st.sampled_from([*SCRIPTS, "/fails"])
QUERIES = st.sampled_from(["", "?", "?a=b&c", "?a?b", "?%20"])
SEGMENTS = st.sampled_from(["", "", "%41", "//", "%2F%C3%A4", ";a", "'\"", "%zz"])
METHODS = st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
FIELDS = st.lists(
    st.sampled_from(["X-A: b", "x-a:c", "X-Empty:", "Cookie: a=b; c=d", "Upgrade: h2c", "Connection: keep-alive, x"]),
    max_size=3,
)
CHUNKS = st.lists(st.integers(1, 40) | st.just(30_000), max_size=4)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Respond as the path says, with the received request in the body."""
    path = "/" + scope["path"].split("/")[1]
    if path == "/fails":
        raise ValueError(path)
    if path == "/late":
        await asyncio.sleep(0.001)
    for message in SCRIPTS.get(path, []):
        await send({"type": "http.response." + ("start" if "status" in message else "body"), **message})
    if path in ("/echo", "/late"):
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": scope_bytes(scope), "more_body": True})
        await send({"type": "http.response.body", "body": await read(receive)})


def scope_bytes(scope: Scope) -> bytes:
    same = {key: value for key, value in scope.items() if key not in ("client", "server")}
    return f"{same} {[type(value).__name__ for value in scope.values()]}".encode()


async def read(receive: Receive) -> bytes:
    received, more = b"", True
    while more:
        message = await receive()
        received += message.get("body", b"")
        more = message.get("more_body", False)
    return received


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Draw one request, its body with a length, in chunks, or none."""
    path, segment, query = draw(PATHS), draw(SEGMENTS), draw(QUERIES)
    origin = draw(st.sampled_from(["", "", "", "http://x"]))
    fields = ["Host: x", *draw(FIELDS)]
    fields += draw(st.sampled_from([[]] * 5 + [["Expect: 100-continue"], ["Connection: close"]]))
    sizes = draw(CHUNKS)
    kind = draw(st.sampled_from(["none", "length", "chunked"]))
    body = b""
    if kind == "length":
        body = b"".join(b"z" * size for size in sizes)
        fields.append(f"Content-Length: {len(body)}")
    elif kind == "chunked":
        body = b"".join(b"%x\r\n%b\r\n" % (size, b"c" * size) for size in sizes) + b"0\r\n\r\n"
        fields.append("Transfer-Encoding: chunked")
    line = f"{draw(METHODS)} {origin}{path}/{segment}{query} HTTP/1.1"
    return "\r\n".join([line, *fields, "", ""]).encode() + body


@st.composite
def segments(draw: st.DrawFn) -> list[bytes]:
    """Draw some requests, one behind the other, and cut anywhere."""
    sent = b"".join(draw(st.lists(requests(), min_size=1, max_size=4))) + LAST
    cuts = sorted({0, len(sent), *draw(st.lists(st.integers(0, len(sent)), max_size=6))})
    return [sent[begin:end] for begin, end in pairwise(cuts)]


class CountingUvicorn(HttpToolsProtocol):
    """uvicorn's connection, which notes how much has come."""

    read = 0

    def data_received(self, data: bytes) -> None:
        CountingUvicorn.read += len(data)
        super().data_received(data)


class CountingOurs(HttpProtocol):
    """Our connection, which notes the same."""

    read = 0

    def data_received(self, data: bytes) -> None:
        CountingOurs.read += len(data)
        super().data_received(data)


async def exchange(wire: AppServer, parts: list[bytes], reader: type[CountingUvicorn | CountingOurs]) -> bytes:
    """Send each part after the previous ones have been read, and return the output."""
    reader.read = sent = 0
    wire.state.default_headers = [(b"date", b"Wed, 25 Nov 2026 07:12:59 GMT")]
    async with wire.client() as client:
        response = asyncio.ensure_future(client.rest())
        for part in parts:
            if not await delivered(client, part):
                break
            sent += len(part)
            async with asyncio.timeout(LIMIT):
                while reader.read < sent and not response.done():
                    await asyncio.sleep(0)
        return await response


async def delivered(client: Client, part: bytes) -> bool:
    try:
        await client.send(part)
    except OSError:  # the server has ended the connection
        return False
    return True


class Pair:
    """uvicorn's connection and ours, each on its port."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self.servers = [serving(app, CountingUvicorn), serving(app, ProtocolFactory(LIMITS, CountingOurs))]

    def __enter__(self) -> Pair:
        self.wires = [self.runner.run(server.__aenter__()) for server in self.servers]
        return self

    def __exit__(self, *_: object) -> None:
        for server in self.servers:
            self.runner.run(server.__aexit__(None, None, None))
        self.runner.close()

    def output(self, parts: list[bytes]) -> list[bytes]:
        uvicorns, ours = self.wires
        return [
            self.runner.run(exchange(uvicorns, parts, CountingUvicorn)),
            self.runner.run(exchange(ours, parts, CountingOurs)),
        ]


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with Pair() as pair:
        yield pair


@settings(max_examples=300)
@given(parts=segments())
def test_responses_equal_those_of_uvicorn(pair: Pair, parts: list[bytes]) -> None:
    uvicorns, ours = pair.output(parts)
    event(f"{uvicorns.count(b'HTTP/1.1 ')} heads")
    assert ours == uvicorns
