"""Responses on the wire: framing, and which ASGI messages are errors."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Receive, Scope, Send

from tests.host.runner.server.apps import GET, LAST, body, chunks, paths, respond, start
from tests.host.runner.server.raw_client import serving

pytestmark = pytest.mark.anyio


async def test_a_response_with_content_length_is_head_and_body() -> None:
    async with serving(paths) as wire:
        assert await wire.request(LAST % b"/a%20b?c") == (
            b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\n/a b"
        )


async def test_a_response_without_content_length_is_chunked() -> None:
    async with serving(chunks) as wire:
        assert await wire.request(LAST % b"/") == (
            b"HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
            b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
        )


async def test_the_response_to_head_has_no_body() -> None:
    request = b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    async with serving(paths) as wire:
        assert await wire.request(request) == b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\n"
    async with serving(chunks) as wire:
        assert await wire.request(request) == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"


async def test_a_body_larger_than_the_write_buffer_arrives_complete() -> None:
    data = bytes(range(256)) * 1000

    async def large(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(data, more=True))
        await send(body(data))

    async with serving(large) as wire:
        response_bytes = await wire.request(LAST % b"/")
    assert response_bytes.endswith(b"\r\n\r\n" + b"3e800\r\n%b\r\n" % data * 2 + b"0\r\n\r\n")


async def test_the_head_is_sent_before_the_application_sends_the_body() -> None:
    go_on = asyncio.Event()

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await go_on.wait()
        await send(body(b"begun", more=True))
        await go_on.wait()
        await send(body(b"ended"))

    async with serving(stream) as wire, wire.client() as client:
        await client.send(LAST % b"/")
        await client.receive(b"chunked\r\n\r\n")
        go_on.set()
        await client.receive(b"5\r\nbegun\r\n5\r\nended\r\n0\r\n\r\n")


async def test_pipelined_requests_are_served_in_order() -> None:
    served: list[str] = []

    async def slower_first(scope: Scope, receive: Receive, send: Send) -> None:
        served.append(f"begin {scope['path']}")
        await asyncio.sleep(0.05 if scope["path"] == "/1" else 0)
        served.append(f"end {scope['path']}")
        await respond(send, scope["path"].encode())

    async with serving(slower_first) as wire:
        response_bytes = await wire.request(GET % b"/1" + GET % b"/2" + LAST % b"/3")
    assert [part[:2] for part in response_bytes.split(b"\r\n\r\n")[1:]] == [b"/1", b"/2", b"/3"]
    assert served == ["begin /1", "end /1", "begin /2", "end /2", "begin /3", "end /3"]


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: b", b"a\nb", b"a\r", b"\0", b"\x7f", b"a\r\n\r\n<html>"])
@pytest.mark.parametrize("name", [b"x-a", b"connection", b"content-length", b"transfer-encoding"])
async def test_a_field_value_with_a_line_break_is_an_error(
    name: bytes, value: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def injected(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start((b"x-b", b"c"), (name, value)))
        await send(body(b"x"))

    async with serving(injected) as wire:
        for _ in range(2):
            assert await wire.request(GET % b"/") == b""
    assert "Exception in ASGI application" in caplog.text


@pytest.mark.parametrize("name", [b"x a", b"x:a", b"x\r\na", b"x-\0", b"(x)"])
async def test_an_invalid_field_name_is_an_error_each_time(name: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async def injected(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start((name, b"a")))
        await send(body(b"x"))

    async with serving(injected) as wire:
        for _ in range(2):
            assert await wire.request(GET % b"/") == b""
    assert caplog.text.count("RuntimeError: Invalid HTTP header name.") == 2


async def test_a_body_longer_than_content_length_is_not_sent(caplog: pytest.LogCaptureFixture) -> None:
    async def longer(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start((b"content-length", b"5")))
        await send(body(b"four", more=True))
        await send(body(b"more"))

    async with serving(longer) as wire:
        assert await wire.request(GET % b"/") == b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfour"
    assert "RuntimeError: Response content longer than Content-Length" in caplog.text


async def test_a_body_shorter_than_content_length_closes_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    async def shorter(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start((b"content-length", b"5")))
        await send(body(b"four"))

    async with serving(shorter) as wire:
        assert await wire.request(GET % b"/") == b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfour"
    assert "RuntimeError: Response content shorter than Content-Length" in caplog.text


async def fails(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"] == "/begun":
        await send(start())
    raise LookupError(scope["path"])


async def ends_early(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"] == "/begun":
        await send(start())


@pytest.mark.parametrize(
    ("app", "path", "logged"),
    [
        (fails, b"/", "LookupError: /"),
        (ends_early, b"/", "ASGI callable returned without starting response."),
        (fails, b"/begun", "LookupError: /begun"),
        (ends_early, b"/begun", "ASGI callable returned without completing response."),
    ],
)
async def test_a_missing_response_becomes_500_and_an_incomplete_one_closes_the_connection(
    app: type, path: bytes, logged: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(app) as wire:
        response_bytes = await wire.request(GET % path + GET % path)
    if path == b"/":
        assert response_bytes.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
        assert response_bytes.endswith(b"\r\nconnection: close\r\n\r\nInternal Server Error")
    else:
        assert response_bytes == b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    assert caplog.text.count(logged) == 1


async def test_asgi_messages_in_the_wrong_order_are_errors() -> None:
    refused: list[str] = []

    async def wrong(scope: Scope, receive: Receive, send: Send) -> None:
        for message in (body(b"x"), start(status=204), start(), body(), body(b"y")):
            try:
                await send(message)
            except RuntimeError as error:
                refused.append(str(error))

    async with serving(wrong) as wire:
        assert await wire.request(LAST % b"/") == b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"
    assert refused == [
        "Expected ASGI message 'http.response.start', but got 'http.response.body'.",
        "Expected ASGI message 'http.response.body', but got 'http.response.start'.",
        "Unexpected ASGI message 'http.response.body' sent, after response already completed.",
    ]
