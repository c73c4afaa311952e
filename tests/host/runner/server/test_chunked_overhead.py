"""Trailers and chunk extensions: they are not merged into the headers, and their size is limited."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from scalekit.config import Size
from scalekit.runner.server.protocol import HttpProtocol
from scalekit.runner.server.request_parser import ConnectionLimits
from tests.host.runner.server.apps import GET, LAST, echo, respond
from tests.host.runner.server.bare_host import ProtocolFactory
from tests.host.runner.server.raw_client import Client, serving, until

pytestmark = pytest.mark.anyio

LIMITS = ConnectionLimits(header_timeout=600.0, write_timeout=600.0, max_header=Size("8KiB"))
BEGIN = b"POST /begin HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
CHUNKED = BEGIN + b"\r\n"
CLOSING = BEGIN + b"Connection: close\r\n\r\n"
SIZED = b"POST /first HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b"
DECISIVE = [
    b"X-Forwarded-For: 198.51.100.1",
    b"Forwarded: for=198.51.100.1;host=other",
    b"Authorization: Bearer token",
    b"X-User: root",
    b"Cookie: session=root",
    b"Host: other",
    b"Expect: 100-continue",
    b"Upgrade: websocket\r\nConnection: upgrade",
]
REFUSED = b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
DETAIL = b"chunk extensions and trailers are larger than 8KiB"


class Counting(HttpProtocol):
    """Our connection, which notes how much has come."""

    taken = 0

    def data_received(self, data: bytes) -> None:
        Counting.taken += len(data)
        super().data_received(data)


OURS = ProtocolFactory(LIMITS, Counting)


async def early(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send, b"early")


async def echo_request(scope: Scope, receive: Receive, send: Send) -> None:
    """Return the request headers after the whole request has arrived."""
    while (await receive()).get("more_body"):
        pass
    await respond(send, b";".join(b"%b=%b" % field for field in scope["headers"]) + b"!")


@pytest.mark.parametrize("trailer", DECISIVE)
@pytest.mark.parametrize("body", [b"", b"5\r\nhello\r\n"])
@pytest.mark.parametrize("cuts", [0, 1])
async def test_trailers_are_not_merged_into_the_headers(trailer: bytes, body: bytes, cuts: int) -> None:
    request = CHUNKED + body + b"0\r\n" + trailer + b"\r\n\r\n"
    parts = [request] if not cuts else [request[at : at + 1] for at in range(len(request))]
    async with serving(echo_request, OURS) as wire, wire.client() as client:
        for _ in range(2):  # the second time on a kept-alive connection
            for part in parts:
                await client.send(part)
            response_bytes = await client.receive(b"!")
            assert response_bytes.endswith(b"\r\n\r\nhost=x;transfer-encoding=chunked!")
        await client.send(request * 2 + LAST % b"/next")
        response_bytes = await client.rest()
    assert response_bytes.count(b"\r\n\r\nhost=x;transfer-encoding=chunked!") == 2
    assert response_bytes.endswith(b"\r\n\r\nhost=x;connection=close!")


async def test_trailers_do_not_affect_a_client_that_expects_100_continue() -> None:
    async with serving(echo_request, OURS) as wire, wire.client() as client:
        await client.send(BEGIN + b"Expect: 100-continue\r\n\r\n")
        assert await client.receive(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"0\r\nX-Forwarded-For: 198.51.100.1\r\nExpect: 100-continue\r\n\r\n")
        assert (await client.receive(b"!")).endswith(b"\r\n\r\nhost=x;transfer-encoding=chunked;expect=100-continue!")


@pytest.mark.parametrize("app", [echo_request, early])
async def test_a_trailer_with_connection_close_closes_the_connection(app: ASGIApp) -> None:
    async with serving(app, OURS) as wire, wire.client() as client:
        await client.send(CHUNKED)
        if app is early:
            await client.receive(b"early")
        await client.send(b"0\r\nConnection: close\r\n\r\n" + GET % b"/behind")
        response_bytes = await client.rest()
    assert response_bytes == b"" if app is early else response_bytes.count(b"HTTP/1.1 200 OK") == 1


ENDLESS = {
    "trailers": (b"0\r\n", b"X-A: y\r\n"),
    "trailer value": (b"0\r\nX-A: ", b"yyyyyyyyyyyyyyyy"),
    "trailer name": (b"0\r\n", b"xxxxxxxxxxxxxxxx"),
    "blanks in a trailer": (b"0\r\nX-A:", b"                "),
    "extension": (b"5;a=", b"bbbbbbbbbbbbbbbb"),
    "extensions": (b"5", b";a=b;c;d"),
    "quoted extension": (b'5;a="', b"bbbbbbbbbbbbbbbb"),
    "extensions of the last chunk": (b"0", b";a=b;c;d"),
    "digits": (b"", b"0000000000000000"),
    "extension of every chunk": (b"", b"1;" + b"a" * 100 + b"\r\nz\r\n"),
}


@pytest.mark.parametrize("kind", ENDLESS)
@pytest.mark.parametrize("size", [100, 60_000])
@pytest.mark.parametrize("before", [b"", LAST.replace(b"close", b"keep-alive") % b"/first"], ids=["first", "second"])
async def test_endless_chunk_overhead_is_rejected(kind: str, size: int, before: bytes) -> None:
    begin, more = ENDLESS[kind]
    async with serving(echo, OURS) as wire, wire.client() as client:
        if before:
            await client.send(before)
            await client.receive(b"\r\n\r\n")
        taken = await send_until_cut(client, CHUNKED + begin, more * max(1, size // len(more)))
        response_bytes = await client.rest()
    assert taken < 300_000
    assert response_bytes.startswith(REFUSED)
    assert DETAIL in response_bytes


async def send_until_cut(client: Client, begin: bytes, more: bytes) -> int:
    """Send *more* again and again until the server has ended the connection; return how much it took."""
    await until(lambda: bool(client.state.connections))
    Counting.taken = sent = 0
    part = begin
    while client.state.connections and sent < 10_000_000:
        await client.send(part)
        sent += len(part)
        await until(lambda total=sent: Counting.taken == total or not client.state.connections)  # type: ignore[misc]
        part = more
    return Counting.taken


@pytest.mark.parametrize("behind", [GET % b"/behind", CHUNKED + b"5\r\nhello\r\n0\r\n\r\n"])
async def test_trailers_over_the_limit_are_rejected_and_the_next_request_is_not_served(
    behind: bytes,
) -> None:
    served: list[str] = []

    async def noting(scope: Scope, receive: Receive, send: Send) -> None:
        served.append(scope["path"])
        await echo(scope, receive, send)

    trailers = b"0\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(1000)) + b"\r\n"
    async with serving(noting, OURS) as wire:
        response_bytes = await wire.request(CHUNKED + b"5\r\nhello\r\n" + trailers + behind)
    assert response_bytes.startswith(REFUSED)
    assert served in ([], ["/begin"])


async def test_trailers_over_the_limit_after_a_started_response_close_the_connection() -> None:
    async with serving(early, OURS) as wire, wire.client() as client:
        await client.send(CHUNKED + b"5\r\nhello\r\n")
        await client.receive(b"early")
        await send_until_cut(client, b"0\r\n", b"X-A: y\r\n" * 100)
        assert await client.rest() == b""


CHUNKS: dict[str, Callable[[], bytes]] = {
    "small chunks": lambda: b"1\r\nz\r\n" * 50_000,
    "small chunks with signatures": lambda: (
        (b"400;chunk-signature=" + b"a" * 64 + b"\r\n" + b"z" * 1024 + b"\r\n") * 500
    ),
    "large chunks": lambda: (b"%x\r\n%b\r\n" % (100_000, b"z" * 100_000)) * 5,
    "an extension below the limit": lambda: b"1;a=" + b"b" * 4000 + b"\r\nz\r\n",
}


@pytest.mark.parametrize("kind", CHUNKS)
async def test_chunks_of_normal_clients_are_accepted(kind: str) -> None:
    chunks = CHUNKS[kind]()
    trailers = b"Server-Timing: a\r\nDigest: b\r\n" + b"X-A: " + b"y" * 4000 + b"\r\n"
    async with serving(echo, OURS) as wire:
        response_bytes = await wire.request(CLOSING + chunks + b"0\r\n" + trailers + b"\r\n")
    assert response_bytes.startswith(b"HTTP/1.1 200 OK\r\n")
    assert response_bytes.count(b"z") == chunks.count(b"z")


async def test_endless_blank_lines_are_rejected() -> None:
    async with serving(echo, OURS) as wire, wire.client() as client:
        taken = await send_until_cut(client, b"\r\n", b"\r\n" * 500)
    assert taken < 300_000


@pytest.mark.parametrize("before", [b"GET /first HTTP/1.1\r\nHost: x\r\n\r\n", SIZED % (50_000, b"z" * 50_000)])
@pytest.mark.parametrize("size", [8500, 9000, 20_000])
@pytest.mark.parametrize("cut", [0, 10, 1000, 8000])
async def test_the_size_of_a_pipelined_head_is_checked_completely(before: bytes, size: int, cut: int) -> None:
    head = b"GET /behind HTTP/1.1\r\nHost: x\r\nX-A: " + b"y" * size + b"\r\n\r\n"
    async with serving(echo, OURS) as wire, wire.client() as client:
        await client.send(before + head[:cut])
        await client.receive(b"\r\n\r\n" + b"z" * before.count(b"z"))
        await client.send(head[cut:])
        assert (await client.rest()).startswith(REFUSED)
