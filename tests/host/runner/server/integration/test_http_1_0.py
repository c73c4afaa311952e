"""Responses to HTTP/1.0 clients, which support neither chunks nor interim responses."""

from __future__ import annotations

import pytest
from starlette.types import Message, Receive, Scope, Send

from tests.host.runner.server.apps import body, chunks, echo, respond, start
from tests.host.runner.server.raw_client import serving

pytestmark = pytest.mark.anyio

OLD = b"GET / HTTP/1.0\r\n\r\n"


@pytest.mark.parametrize("keep_alive", [b"", b"Connection: keep-alive\r\n"])
async def test_a_body_of_unknown_length_ends_with_the_connection(keep_alive: bytes) -> None:
    async with serving(chunks) as wire:
        response_bytes = await wire.request(b"GET / HTTP/1.0\r\n" + keep_alive + b"\r\n")
    assert response_bytes == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nonetwo"


async def test_a_large_body_of_unknown_length_arrives_complete() -> None:
    data = bytes(range(256)) * 1000

    async def large(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(data, more=True))
        await send(body(data))

    async with serving(large) as wire:
        assert (await wire.request(OLD)).endswith(b"\r\n\r\n" + data * 2)


@pytest.mark.parametrize("name", [b"transfer-encoding", b"Transfer-Encoding"])
@pytest.mark.parametrize("fields", [[], [(b"content-length", b"3")]])
async def test_transfer_codings_of_the_application_are_not_sent(name: bytes, fields: list[tuple[bytes, bytes]]) -> None:
    async def codes(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start((name, b"chunked"), *fields))
        await send(body(b"abc"))

    async with serving(codes) as wire:
        response_bytes = await wire.request(OLD)
    assert b"transfer-encoding" not in response_bytes.lower()
    assert response_bytes.endswith(b"\r\n\r\nabc")


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize("status", [200, 204, 304])
async def test_responses_without_a_body_have_none(method: bytes, status: int) -> None:
    async def empty(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(status=status))
        await send(body())

    async with serving(empty) as wire:
        response_bytes = await wire.request(method + b" / HTTP/1.0\r\n\r\n")
    assert response_bytes.endswith(b"\r\nconnection: close\r\n\r\n")
    assert b"transfer-encoding" not in response_bytes


async def test_an_incomplete_body_closes_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    async def breaks(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(b"abc", more=True))
        raise LookupError

    async with serving(breaks) as wire:
        assert await wire.request(OLD) == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nabc"
    assert "LookupError" in caplog.text


async def test_http_1_0_gets_no_100_continue() -> None:
    request = b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello"
    async with serving(echo) as wire:
        response_bytes = await wire.request(request)
    assert response_bytes == b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello"


async def test_a_pipelined_http_1_0_request_gets_an_http_1_0_response() -> None:
    async def by_version(scope: Scope, receive: Receive, send: Send) -> None:
        messages: list[Message] = [start(), body(scope["http_version"].encode())]
        if scope["path"] == "/length":
            await respond(send, b"known")
        else:
            for message in messages:
                await send(message)

    async with serving(by_version) as wire:
        response_bytes = await wire.request(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + OLD)
    assert response_bytes == (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\n1.1\r\n0\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n1.0"
    )
